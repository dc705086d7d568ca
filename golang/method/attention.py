"""Semantic attention: which positions of a feature map each embedding channel looks at, and the local views it forms.

Chen & Yeh 2023, "From Whole to Parts" (doi 10.6345/NTNU202301210).
"""

from __future__ import annotations

import torch
from torch import Tensor

from golang.method.heads import normalised


def semantic_attention(embeddings: Tensor, temperature: float = 1.0) -> Tensor:
    """Attention [M, D, P] from position embeddings [M, P, D]: unit length over D, then softmax over the positions,
    both in fp32 or better."""
    unit = normalised(embeddings, dim=2).transpose(1, 2)
    return torch.softmax(unit if temperature == 1 else unit / temperature, dim=2)


def local_views(features: Tensor, attention: Tensor, heads: int) -> Tensor:
    """Local views [M·n, C] of features [M, C, P] under attention [M, D, P], n = D / heads, row m·n + j.

    Channels are split by head; view j concatenates, over heads k, features of head k averaged by its attention
    channel j: F[m, j, k·C/h + c] = Σ_p X[m, k, c, p] · A[m, k, j, p].
    """
    rows, channels, positions = features.shape
    views = attention.shape[1] // heads
    split_features = features.reshape(rows, heads, channels // heads, positions)
    split_attention = attention.reshape(rows, heads, views, positions)
    pooled = split_attention @ split_features.transpose(2, 3)
    return pooled.transpose(1, 2).reshape(rows * views, channels)
