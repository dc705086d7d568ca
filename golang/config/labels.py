"""Whether a data set has labels, or boxes and masks, to evaluate on, as far as its settings tell."""

from __future__ import annotations

from golang.config.schema import Data


def has_labels(data: Data) -> bool:
    """Whether there are, or may be, labelled images to train a classifier on and to measure it on. No file is read, so
    a list or a folder of COCO's format that turns out to have none counts as having some: who opens it raises
    UnlabelledError."""
    if data.name == "coco":
        return data.root is not None or data.holdout > 0 or bool(data.val.images or data.val.annotations)
    return data.name not in ("folder", "voc_sbd")


def has_objects(data: Data) -> bool:
    """Whether there are, or may be, boxes or class maps to learn from and to measure on. No file is read."""
    return data.name not in ("list", "imagenet") and has_labels(data)


def lacking_objects(data: Data) -> str:
    """What a set without boxes lacks, and what to type: the tail of an error message."""
    if data.name == "coco":
        return lacking(data)
    return f"data={data.name} has none; measure on a set that has them, such as data=coco data.root=FOLDER"


def lacking(data: Data) -> str:
    """What a set without labels lacks, and what to type: the tail of an error message."""
    if data.name == "coco":
        return "data=coco has no images to measure on; set data.val.annotations=FILE, or data.holdout=0.2"
    return (
        f"data={data.name} has no labels; measure on a set that has them, such as data=list data.root=LIST with "
        "data.val.images=LIST, data.holdout=0.2 or a `split` column"
    )
