"""The trainer's settings: what there is, how it is read, what cannot work together, and what makes a run that run."""

from golang.config.reading import build, keys, nearest, refuse_secret
from golang.config.schema import (
    NUM_LARGE,
    Augment,
    Checkpoint,
    Config,
    CrossView,
    Data,
    Evaluation,
    Method,
    Model,
    Optim,
    Part,
    Queue,
    Recipe,
    Toy,
    Tracking,
)

__all__ = [
    "NUM_LARGE", "Augment", "Checkpoint", "Config", "CrossView", "Data", "Evaluation", "Method", "Model", "Optim",
    "Part", "Queue", "Recipe", "Toy", "Tracking", "build", "keys", "nearest", "refuse_secret",
]  # fmt: skip
