"""Reader of ImageNet's layout (Russakovsky et al., IJCV 2015): a folder for each class, below train/ and val/."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from golang.data.images import ImageSet
from golang.data.readers.folder import images
from golang.data.readers.reader import Reader, Split, first_of
from golang.errors import DataError


class ImageNet(Reader):
    """ImageNet, or anything laid out like it."""

    title = "ImageNet"
    covers = ("folder",)
    images: Mapping[str, int] = {"train": 1_281_167, "val": 50_000}
    classes = 1000

    def is_at(self, root: Path) -> bool:
        return any((place / "train").is_dir() for place in (root, root / "tmp_root"))

    def remedy(self, root: Path, split: Split) -> str:
        return f"unpack them again from ILSVRC2012_img_{split}.tar"

    def layout(self, root: Path) -> str:
        return (
            f"expected:\n  {root}/train/<class>/*.JPEG\n  {root}/val/<class>/*.JPEG\n"
            f"sort the validation images into a folder for each class, or set data.root=FOLDER; for images without "
            f"classes there is data=folder, and data=toy needs no download"
        )

    def check(self, root: Path, split: Split) -> Path:
        """The folder of one split."""
        folder = first_of(root / split, root / "tmp_root" / split, root / split if root.is_dir() else root)
        if not folder.is_dir():
            raise DataError(f"data=imagenet: {folder} does not exist\n{self.layout(root)}")
        return folder

    def read(self, root: Path, split: Split, labelled: bool = True) -> ImageSet:
        """The images of one split, sorted by class and file name. Labels are uint8 [N, classes], 1 in the column of the
        image's class, and columns the class folders by name: a gigabyte for ImageNet, so pre-training asks for none."""
        folder = self.check(root, split)
        classes = _classes(folder)
        if labelled and split == "val" and classes != (trained := _classes(self.check(root, "train"))):
            differing = ", ".join(sorted(set(classes) ^ set(trained))[:3])
            both = f"{folder} and {folder.parent / 'train'}"
            raise DataError(f"{both} hold other classes: {differing}\n{self.layout(root)}")
        passed_over: Counter[str] = Counter()
        every = ([entry.name for entry in os.scandir(folder / name)] for name in classes)
        files = [sorted(images(own, passed_over)) for own in every]
        names = [f"{name}/{file}" for name, own in zip(classes, files, strict=True) for file in own]
        if not names:
            found = f"no image in any of the {len(classes)} folders in {folder}"
            raise DataError(f"data=imagenet: {found}\n{self.layout(root)}")
        if not labelled:
            return ImageSet.of(folder, names, passed_over=passed_over)
        labels = np.repeat(np.eye(len(classes), dtype=np.uint8), [len(own) for own in files], axis=0)
        return ImageSet.of(folder, names, labels, classes, passed_over=passed_over)


def _classes(folder: Path) -> tuple[str, ...]:
    return tuple(sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and entry.name[0] != "."))
