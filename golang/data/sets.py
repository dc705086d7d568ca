"""The data sets by name: the one place that knows which reader serves `data.name`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from golang.config import Data
from golang.data import coco, folder
from golang.data.images import ImageSet
from golang.errors import DataError

_YEARS = {"coco2014": 2014, "coco2017": 2017, "toy": 2017}  # the toy set has the layout of COCO 2017


def check_root(config: Data, splits: Sequence[coco.Split] = ("train",)) -> None:
    """A glance at the disk before anything is read. Raises DataError, with the layout expected, when the folders of
    `splits` are not there. The toy set is made when it is opened, so there is nothing to miss."""
    if config.name == "toy":
        return
    root = _root(config)
    if config.name == "folder":
        folder.check(root)
        return
    for split in splits:
        coco.check(root, split, _YEARS[config.name])


def open_train(config: Data) -> ImageSet:
    """The training images of `config`; unlabelled for `folder`. Raises DataError as the readers do."""
    return folder.read(_root(config)) if config.name == "folder" else _open(config, "train")


def open_val(config: Data) -> ImageSet:
    """The labelled validation images of `config`. Raises DataError as the readers do, and for `folder`."""
    if config.name == "folder":
        raise DataError(
            f"data=folder (data.root={config.root}) has no labels to evaluate on; "
            "evaluate with data=coco2014, data=coco2017 or data=toy"
        )
    return _open(config, "val")


def _open(config: Data, split: coco.Split) -> ImageSet:
    if config.name == "toy":
        import golang.data.toy as toy  # only the toy set needs what draws it

        root = toy.provide(Path(config.root).expanduser() if config.root else toy.default_root(config.toy), config.toy)
    else:
        root = _root(config)
    return coco.read(root, split, _YEARS[config.name])


def _root(config: Data) -> Path:
    if not config.root:
        expected = "" if config.name == "folder" else "\n" + coco.layout(Path("FOLDER"), _YEARS[config.name])
        raise DataError(f"data={config.name} needs data.root=FOLDER, the folder that holds the images{expected}")
    return Path(config.root).expanduser()
