"""The generated set in the layouts of VOC 2007 and ImageNet, to try those readers on."""

from __future__ import annotations

import dataclasses
import json
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal
from xml.sax.saxutils import escape

from PIL import Image

from golang.config import Toy
from golang.data.toy import write as toy
from golang.data.toy.scene import SPLITS
from golang.data.toy.truth import PALETTE, class_map
from golang.errors import DataError

Layout = Literal["coco", "voc", "imagenet"]
LAYOUTS: tuple[Layout, ...] = ("coco", "voc", "imagenet")
_VOC = "VOCdevkit/VOC2007"
# What sets that were written without have to be given.
_TRUTH = tuple(f"{_VOC}/{part}" for part in ("SegmentationClass", "ImageSets/Segmentation", "Annotations"))
DIFFICULT = 0.03  # share of the image; an object that is smaller is difficult, as a class is whose every object is


def default_root(spec: Toy, layout: Layout) -> Path:
    """Where a set lies if nobody says otherwise, relative to the working directory."""
    root = toy.default_root(spec)
    return root if layout == "coco" else root.with_name(f"{root.name}-{layout}")


def provide(root: Path, spec: Toy, layout: Layout) -> Path:
    """As `write.write`, in `layout`: of VOC the training images are trainval and the validation images test; of
    ImageNet an image's class is its scene. A set that was written without masks is given them."""
    if layout == "coco":
        toy.write(root, spec)
        if not toy.has_masks(root):
            toy.add_masks(root, spec)
        return root
    mark = json.dumps({"layout": layout, **dataclasses.asdict(spec)}) + "\n"
    if root.exists():
        if not ((root / toy.MARK).is_file() and (root / toy.MARK).read_text() == mark):
            raise DataError(f"{root} exists and is not this set in the layout of {layout}: choose another --root")
        if layout == "imagenet" or all((root / part).is_dir() for part in _TRUTH):
            return root
    root.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{root.name}.", dir=root.parent) as name:
        source, target = Path(name) / "coco", Path(name) / layout
        toy.write(source, spec)
        for split, folder in zip(("train", "val"), SPLITS, strict=True):
            document = json.loads((source / "annotations" / f"instances_{folder}.json").read_text())
            write = _write_voc if layout == "voc" else _write_imagenet
            write(source / folder, target, split, document)
        (target / toy.MARK).write_text(mark)
        for part in _TRUTH if root.exists() else (".",):
            if not (root / part).exists():
                shutil.move(target / part, root / part)
    return root


def _write_voc(source: Path, root: Path, split: str, document: Mapping[str, Any]) -> None:
    base, name = root / _VOC, {"train": "trainval", "val": "test"}[split]
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
    _write_truth(base, name, document)
    for image in document["images"]:
        (source / image["file_name"]).rename(images / f"{image['id']:06d}.jpg")


def _write_truth(base: Path, name: str, document: Mapping[str, Any]) -> None:
    """Boxes in XML, their corners counted from 1, and maps of the classes, which are numbered by their names."""
    boxes, maps, lists = base / "Annotations", base / "SegmentationClass", base / "ImageSets" / "Segmentation"
    for folder in (boxes, maps, lists):
        folder.mkdir(parents=True, exist_ok=True)
    names = {category["id"]: category["name"] for category in document["categories"]}
    values = {key: value for value, (key, _) in enumerate(sorted(names.items(), key=lambda pair: pair[1]), 1)}
    things: dict[int, list[Mapping[str, Any]]] = defaultdict(list)
    for thing in document["annotations"]:
        things[thing["image_id"]].append(thing)
    for image in document["images"]:
        stem, own = f"{image['id']:06d}", things[image["id"]]
        (boxes / f"{stem}.xml").write_text(_xml(stem, image, own, names))
        png = Image.fromarray(class_map(own, values, image["height"], image["width"]))
        png.putpalette(PALETTE)
        png.save(maps / f"{stem}.png")
    (lists / f"{name}.txt").write_text("".join(f"{image['id']:06d}\n" for image in document["images"]))


def _xml(stem: str, image: Mapping[str, Any], things: Sequence[Mapping[str, Any]], names: Mapping[int, str]) -> str:
    width, height = image["width"], image["height"]
    lines = [
        f"<annotation><filename>{stem}.jpg</filename>",
        f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size><segmented>1</segmented>",
    ]
    for thing in things:
        x, y, wide, high = thing["bbox"]
        difficult = int(thing["area"] < DIFFICULT * width * height)
        lines.append(
            f"<object><name>{escape(names[thing['category_id']])}</name><difficult>{difficult}</difficult><bndbox>"
            f"<xmin>{x + 1}</xmin><ymin>{y + 1}</ymin><xmax>{x + wide}</xmax><ymax>{y + high}</ymax></bndbox></object>"
        )
    return "\n".join([*lines, "</annotation>"]) + "\n"


def _write_imagenet(source: Path, root: Path, split: str, document: Mapping[str, Any]) -> None:
    for image in document["images"]:
        folder = root / split / f"scene{image['scene']}"
        folder.mkdir(parents=True, exist_ok=True)
        (source / image["file_name"]).rename(folder / f"{image['id']:06d}.JPEG")
