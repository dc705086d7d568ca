"""The generated set in the layouts of VOC 2007 and ImageNet, to try those readers on."""

from __future__ import annotations

import dataclasses
import json
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from golang.config import Toy
from golang.data.toy import write as toy
from golang.data.toy.scene import SPLITS
from golang.errors import DataError

Layout = Literal["coco", "voc", "imagenet"]
LAYOUTS: tuple[Layout, ...] = ("coco", "voc", "imagenet")
DIFFICULT = 0.03  # share of the image; a class whose every object is smaller counts as difficult


def default_root(spec: Toy, layout: Layout) -> Path:
    """Where a set lies if nobody says otherwise, relative to the working directory."""
    root = toy.default_root(spec)
    return root if layout == "coco" else root.with_name(f"{root.name}-{layout}")


def provide(root: Path, spec: Toy, layout: Layout) -> Path:
    """As `write.write`, in `layout`: of VOC the training images are trainval and the validation images test; of
    ImageNet an image's class is its scene."""
    if layout == "coco":
        return toy.write(root, spec)
    mark = json.dumps({"layout": layout, **dataclasses.asdict(spec)}) + "\n"
    if root.exists():
        if (root / toy.MARK).is_file() and (root / toy.MARK).read_text() == mark:
            return root
        raise DataError(f"{root} exists and is not this set in the layout of {layout}: choose another --root")
    root.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{root.name}.", dir=root.parent) as name:
        source, target = Path(name) / "coco", Path(name) / layout
        toy.write(source, spec)
        for split, folder in zip(("train", "val"), SPLITS, strict=True):
            document = json.loads((source / "annotations" / f"instances_{folder}.json").read_text())
            write = _write_voc if layout == "voc" else _write_imagenet
            write(source / folder, target, split, document)
        (target / toy.MARK).write_text(mark)
        shutil.move(target, root)
    return root


def _write_voc(source: Path, root: Path, split: str, document: Mapping[str, Any]) -> None:
    base, name = root / "VOCdevkit" / "VOC2007", {"train": "trainval", "val": "test"}[split]
    images, lists = base / "JPEGImages", base / "ImageSets" / "Main"
    for folder in (images, lists):
        folder.mkdir(parents=True, exist_ok=True)
    largest: dict[tuple[int, int], float] = defaultdict(float)  # area, by image and category
    for thing in document["annotations"]:
        key = thing["image_id"], thing["category_id"]
        largest[key] = max(largest[key], thing["area"])
    for category in document["categories"]:
        lines = []
        for image in document["images"]:
            area = largest.get((image["id"], category["id"]), 0.0)
            difficult = area < DIFFICULT * image["width"] * image["height"]
            lines.append(f"{image['id']:06d} {-1 if area == 0 else 0 if difficult else 1:2d}\n")
        (lists / f"{category['name']}_{name}.txt").write_text("".join(lines))
    (lists / f"{name}.txt").write_text("".join(f"{image['id']:06d}\n" for image in document["images"]))
    for image in document["images"]:
        (source / image["file_name"]).rename(images / f"{image['id']:06d}.jpg")


def _write_imagenet(source: Path, root: Path, split: str, document: Mapping[str, Any]) -> None:
    for image in document["images"]:
        folder = root / split / f"scene{image['scene']}"
        folder.mkdir(parents=True, exist_ok=True)
        (source / image["file_name"]).rename(folder / f"{image['id']:06d}.JPEG")
