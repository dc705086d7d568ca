"""From a forward pass to the loss: queues, Sinkhorn targets, and the mean of the branches' losses."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from golang.config import CrossView, Method
from golang.method.model import GOLANG, Branches, SwAV, large_views, split_views
from golang.method.queue import EmbeddingQueue
from golang.method.sinkhorn import sinkhorn

NAMES = ("loss", "loss_global", "loss_local", "loss_cross_view")  # of the losses as metrics, in the order of Losses


@dataclass
class Losses:
    """Scalars; SwAV has no local and no cross-view part."""

    total: Tensor
    global_: Tensor
    local: Tensor | None = None
    cross_view: Tensor | None = None


@dataclass
class Targets:
    """Soft codes of the two large views, and the logits that Sinkhorn saw (queue rows first)."""

    global_: Tensor  # [2, b, K]
    local: Tensor | None  # [2, b·n, K_local]
    logits: list[Tensor]  # view 0, view 1, then the same for local views


def make_targets(
    model: SwAV, branches: Branches, images: int, method: Method,
    queue: EmbeddingQueue | None = None, local_queue: EmbeddingQueue | None = None,
) -> Targets:  # fmt: skip
    """Sinkhorn codes for `images` images a rank; a queue joins once it is ready and takes this step's embeddings."""
    logits = _with_queue(large_views(branches.logits, images), branches.embedding, queue, model.prototypes.weight)
    wanted = [images, images]
    if isinstance(model, GOLANG):
        assert branches.local_logits is not None and branches.local_embedding is not None
        rows = branches.local_logits.view(2, -1, branches.local_logits.shape[1])
        logits += _with_queue(rows, branches.local_embedding, local_queue, model.local_prototypes.weight)
        wanted += [rows.shape[1]] * 2
    codes = sinkhorn(logits, method.epsilon, method.sinkhorn_iterations, wanted)
    return Targets(torch.stack(codes[:2]), torch.stack(codes[2:]) if codes[2:] else None, logits)


def compute_losses(
    branches: Branches, targets: Targets, images: int, method: Method, cross_view: CrossView,
    permutations: Tensor | None,
) -> Losses:  # fmt: skip
    """The losses of one step; `permutations` as in `local_loss`, None for SwAV."""
    log_p = log_probabilities(split_views(branches.logits, images), method.temperature)
    whole = global_loss(log_p, targets.global_)
    if branches.local_logits is None or branches.cross_logits is None or targets.local is None or permutations is None:
        return Losses(whole, whole)
    prototypes = branches.local_logits.shape[1]
    local_log_p = log_probabilities(branches.local_logits.view(2, images, -1, prototypes), method.temperature)
    local = local_loss(local_log_p, targets.local.view_as(local_log_p), permutations)
    cross_log_p = log_probabilities(split_views(branches.cross_logits, images), method.temperature)
    cross = cross_view_loss(cross_log_p, targets.global_, cross_view.same_view)
    return Losses((whole + local + cross) / 3, whole, local, cross)


@torch.no_grad()
def _with_queue(logits: Tensor, embedding: Tensor, queue: EmbeddingQueue | None, prototypes: Tensor) -> list[Tensor]:
    """Each large view's logits [r, K] behind the queue's, once that is ready; then the queue takes this step's rows."""
    views, rows, _ = logits.shape
    problems = list(logits.detach().unbind())
    if queue is None:
        return problems
    if queue.ready:
        problems = [
            torch.cat([F.linear(past, prototypes.to(past.dtype)), now])
            for past, now in zip(queue.rows, problems, strict=True)
        ]
    queue.push(embedding[: views * rows].detach().view(views, rows, -1))
    return problems


# --- the three losses, from log-probabilities and detached targets; i is the target's view, v the student's ---


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
