"""The data set that the settings ask for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from golang.config import Data
from golang.data.images import ImageSet
from golang.data.readers.reader import Split
from golang.data.readers.table import READERS
from golang.errors import DataError


def check_root(data: Data, splits: Sequence[Split] = ("train",)) -> None:
    """A glance at the disk. Raises DataError, with the layout expected, when the folders of `splits` are not there."""
    reader = READERS[data.name]
    for split in splits:
        reader.check(reader.root(data), split)


def open_train(data: Data, labelled: bool = True) -> ImageSet:
    """The training images of `data`; unlabelled for `folder`, and where labels are not asked for and cost memory.
    Raises DataError as the readers do."""
    return READERS[data.name].open(data, "train", labelled)


def open_val(data: Data) -> ImageSet:
    """The labelled validation images of `data`. Raises DataError as the readers do, and for `folder`."""
    reader = READERS[data.name]
    if "val" not in reader.splits:
        *others, last = (name for name, one in READERS.items() if "val" in one.splits)
        raise DataError(
            f"data={data.name} (data.root={data.root}) has no labels to evaluate on; "
            f"evaluate with data={', '.join(others)} or {last}"
        )
    return reader.open(data, "val")


def open_labelled(data: Data) -> tuple[ImageSet, ImageSet]:
    """The labelled training and validation images. Raises DataError as `open_val`, and where their labels disagree."""
    val = open_val(data)  # first: it refuses a set without labels
    train = open_train(data)
    train.check_classes(val)
    return train, val


def root_of(data: Data) -> Path:
    """The folder that holds the set. Raises DataError when it has to be said and is not."""
    return READERS[data.name].root(data)
