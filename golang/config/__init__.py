"""The trainer's settings: what they are, how they are read, which cannot work together, and which make a run that run."""

from golang.config.reading import build, keys, looks_secret, nearest, refuse_secret
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
    Queue,
    Toy,
    Tracking,
)

__all__ = [
    "NUM_LARGE",
    "Augment",
    "Checkpoint",
    "Config",
    "CrossView",
    "Data",
    "Evaluation",
    "Method",
    "Model",
    "Optim",
    "Queue",
    "Toy",
    "Tracking",
    "build",
    "keys",
    "looks_secret",
    "nearest",
    "refuse_secret",
]
