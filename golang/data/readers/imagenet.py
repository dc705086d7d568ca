"""Reader of ImageNet's layout (Russakovsky et al., IJCV 2015): a folder for each class, below train/ and val/."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

import numpy as np

from golang.data.images import ImageSet
from golang.data.readers.folder import is_image
from golang.errors import DataError

Split = Literal["train", "val"]


def layout(root: Path) -> str:
    """The files expected below `root`, as the tail of an error message."""
    return (
        f"expected:\n"
        f"  {root}/train/<class>/*.JPEG\n"
        f"  {root}/val/<class>/*.JPEG\n"
        f"sort the validation images into a folder for each class, or set data.root=FOLDER; for images without "
        f"classes there is data=folder, and data=toy needs no download"
    )


def check(root: Path, split: Split) -> Path:
    """The folder of one split. Raises DataError when it is missing."""
    for folder in (root / split, root / "tmp_root" / split):
        if folder.is_dir():
            return folder
    missing = root / split if root.is_dir() else root
    raise DataError(f"data=imagenet: {missing} does not exist\n{layout(root)}")


def read(root: Path, split: Split, labelled: bool = True) -> ImageSet:
    """The images of one split, sorted by class and file name, which is the same on every machine.

    Labels are uint8 [N, classes], 1 in the one column of the image's class; columns are the class folders in the order
    of their names. They take a gigabyte for all of ImageNet, so pre-training asks for none with `labelled=False`.

    Raises DataError when folders are missing, when there is no image, or when the splits' classes differ.
    """
    folder = check(root, split)
    classes = _classes(folder)
    if labelled and split == "val" and classes != (trained := _classes(check(root, "train"))):
        differing = ", ".join(sorted(set(classes) ^ set(trained))[:3])
        raise DataError(f"{folder} and {folder.parent / 'train'} hold other classes: {differing}\n{layout(root)}")
    names: list[str] = []
    counts = []
    for name in classes:
        own = sorted(entry.name for entry in os.scandir(folder / name) if is_image(entry.name))
        names += [f"{name}/{file}" for file in own]
        counts.append(len(own))
    if not names:
        raise DataError(f"data=imagenet: no image in any of the {len(classes)} folders in {folder}\n{layout(root)}")
    if not labelled:
        return ImageSet.of(folder, names)
    labels = np.zeros((len(names), len(classes)), dtype=np.uint8)
    labels[np.arange(len(names)), np.repeat(np.arange(len(classes)), counts)] = 1
    return ImageSet.of(folder, names, labels, classes)


def _classes(folder: Path) -> tuple[str, ...]:
    return tuple(sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and entry.name[0] != "."))
