"""The data sets by name: the one place that knows which reader serves `data.name`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from golang.config import Data
from golang.data.images import ImageSet
from golang.data.readers import coco, folder, imagenet, voc
from golang.errors import DataError

Split = Literal["train", "val"]
# The toy set has the layout of COCO 2017.
YEARS = {"coco2014": 2014, "coco2017": 2017, "toy": 2017, "voc2007": 2007, "voc2012": 2012}


def check_root(config: Data, splits: Sequence[Split] = ("train",)) -> None:
    """A glance at the disk before anything is read. Raises DataError, with the layout expected, when the folders of
    `splits` are not there. The toy set is made when it is opened, so there is nothing to miss."""
    if config.name == "toy":
        return
    root = _root(config)
    for split in splits:
        if config.name == "folder":
            folder.check(root)
        elif config.name == "imagenet":
            imagenet.check(root, split)
        elif config.name.startswith("voc"):
            voc.check(root, split, YEARS[config.name])
        else:
            coco.check(root, split, YEARS[config.name])


def open_train(config: Data, labelled: bool = True) -> ImageSet:
    """The training images of `config`; unlabelled for `folder`, and where labels are not asked for and cost memory.
    Raises DataError as the readers do."""
    return folder.read(_root(config)) if config.name == "folder" else _open(config, "train", labelled)


def open_val(config: Data) -> ImageSet:
    """The labelled validation images of `config`. Raises DataError as the readers do, and for `folder`."""
    if config.name == "folder":
        raise DataError(
            f"data=folder (data.root={config.root}) has no labels to evaluate on; "
            "evaluate with data=coco2014, coco2017, voc2007, voc2012, imagenet or toy"
        )
    return _open(config, "val", labelled=True)


def open_labelled(config: Data) -> tuple[ImageSet, ImageSet]:
    """The labelled training and validation images of `config`. Raises DataError as `open_val`, and where the labels of
    the two disagree."""
    val = open_val(config)  # first: it refuses a set without labels
    train = open_train(config)
    train.check_classes(val)
    return train, val


def place(config: Data) -> Path:
    """The folder that holds the set. Raises DataError when it has to be said and is not."""
    if config.name == "toy":
        import golang.data.toy.write as toy

        return Path(config.root).expanduser() if config.root else toy.default_root(config.toy)
    return _root(config)


def _open(config: Data, split: Split, labelled: bool) -> ImageSet:
    root = place(config)
    if config.name == "imagenet":
        return imagenet.read(root, split, labelled)
    if config.name.startswith("voc"):
        return voc.read(root, split, YEARS[config.name])
    if config.name == "toy":
        import golang.data.toy.write as toy

        root = toy.provide(root, config.toy)
    return coco.read(root, split, YEARS[config.name])


def _root(config: Data) -> Path:
    if not config.root:
        raise DataError(f"data={config.name} needs data.root=FOLDER, the folder that holds the images{_layout(config)}")
    return Path(config.root).expanduser()


def _layout(config: Data) -> str:
    root = Path("FOLDER")
    if config.name == "folder":
        return ""
    if config.name == "imagenet":
        return "\n" + imagenet.layout(root)
    if config.name.startswith("voc"):
        return "\n" + voc.layout(root, YEARS[config.name])
    return "\n" + coco.layout(root, YEARS[config.name])
