"""Accumulates differences between computed and golden arrays against tolerances."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch


@dataclass
class Comparison:
    """The worst difference of a file, as a share of its tolerance."""

    worst: float = 0.0  # absolute difference of the array closest to, or furthest over, its tolerance
    tolerance: float = 0.0
    array: str = ""
    arrays: int = 0
    misses: list[str] = field(default_factory=list)

    def add(self, name: str, got: object, want: object, tolerance: float, relative: float = 0.0) -> None:
        """Compares within tolerance + relative·|want|; a shape mismatch or a NaN is a miss."""
        a, b = _array(got), _array(want)
        self.arrays += 1
        if a.shape != b.shape:
            self.misses.append(f"{name}: shape {a.shape}, golden {b.shape}")
            return
        bound = tolerance + relative * np.abs(b)
        difference = np.abs(a - b)
        if difference.size == 0:
            return
        share = np.where(bound > 0, difference / np.maximum(bound, 1e-300), np.where(difference > 0, np.inf, 0.0))
        at = int(np.argmax(np.where(np.isnan(share), np.inf, share)))
        this, limit = float(difference.flat[at]), float(np.broadcast_to(bound, difference.shape).flat[at])
        if not this <= limit:
            self.misses.append(f"{name}: {this:.3g} > {limit:.3g}")
        if not self.array or not this / max(limit, 1e-300) <= self.worst / max(self.tolerance, 1e-300):
            self.worst, self.tolerance, self.array = this, limit, name

    @property
    def ok(self) -> bool:
        return self.arrays > 0 and not self.misses


def _array(value: object) -> np.ndarray:
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().numpy()
    return np.asarray(value, dtype=np.float64)
