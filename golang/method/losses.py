"""The three losses, from log-probabilities and detached targets. i is the target's view, v the student's."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def log_probabilities(logits: Tensor, temperature: float) -> Tensor:
    """log softmax(logits / T) over prototypes, in at least fp32."""
    return F.log_softmax((logits if logits.dtype == torch.float64 else logits.float()) / temperature, dim=-1)


def global_loss(log_p: Tensor, targets: Tensor) -> Tensor:
    """Swapped prediction between all views: log_p [V, b, K], targets [2, b, K] of the large views.

    ½ Σ_i 1/(V−1) Σ_{v≠i} −mean_b Σ_k q_i log p_v.
    """
    views, images, _ = log_p.shape
    others = log_p.sum(0) - log_p[:2]
    return -(targets * others).sum() / (2 * (views - 1) * images)


def local_loss(log_p: Tensor, targets: Tensor, permutations: Tensor) -> Tensor:
    """Each local view predicts a permuted local view of the other large view.

    log_p, targets [2, b, n, K]; permutations int64 [2, n] or [2, b, n], entry i for target view i:
    ½ Σ_i −mean_{b,j} Σ_k q_i[j] log p_{1−i}[perm_i[j]].
    """
    # Σ_j q[j]·x[perm[j]] = Σ_m q[perm⁻¹[m]]·x[m]: the targets, which need no gradient, are permuted.
    inverse = permutations.argsort(dim=-1)
    views, images, locals_, prototypes = log_p.shape
    index = inverse.reshape(views, -1, locals_, 1).expand(views, images, locals_, prototypes)
    permuted = targets.gather(2, index)
    return -(permuted * log_p.flip(0)).sum() / (2 * images * locals_)


def cross_view_loss(log_p: Tensor, targets: Tensor, same_view: bool) -> Tensor:
    """The mean of an image's local views predicts its global codes: log_p, targets [2, b, K].

    ½ Σ_i ½ Σ_g Σ_{v≠i} −mean_b Σ_k q_g log p_v; without `same_view`, only g ≠ v and no ½ over g.
    """
    images = log_p.shape[1]
    wanted = targets.sum(0) / 2 if same_view else targets.flip(0)
    return -(wanted * log_p).sum() / (2 * images)
