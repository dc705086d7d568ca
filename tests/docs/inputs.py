"""The files that the docs say a reader has, small."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from golang.config import Toy
from golang.data.toy import layouts, write
from golang.sources import ROOT
from tests.docs import small

if TYPE_CHECKING:
    from tests.docs.conftest import Shell

SPEC = Toy(classes=5, size=32, train=24, val=16, seed=0)
LABELS = ("cat", "dog", "tree")


def prepare(folder: Path) -> Path:
    """photos/, more/, lists of labels, COCO's annotations, export/ as labelling tools write it, and below datasets/
    sets in the layouts of COCO 2014 and 2017, VOC 2007 and ImageNet."""
    toy = write.write(folder / write.default_root(SPEC), SPEC, workers=1)
    _coco(toy, folder)
    for layout in ("voc", "imagenet"):
        layouts.provide(folder / "datasets" / layout, SPEC, layout)  # type: ignore[arg-type]
    photos = folder / "photos"
    photos.mkdir()
    for number, image in enumerate(sorted((toy / "train2017").iterdir())):
        shutil.copy(image, photos / f"{number:03d}.jpg")
    rows = [_row(number, f"photos/{image.name}") for number, image in enumerate(sorted(photos.iterdir()))]
    _list(folder / "labels.csv", ["image", "labels", "split"], rows)
    for split in ("train", "val"):
        _list(folder / f"{split}.csv", ["image", "labels"], [row[:2] for row in rows if row[2] == split])
    _list(folder / "all.csv", ["image", "labels"], [row[:2] for row in rows])
    shutil.copytree(photos, folder / "more", ignore=lambda _, names: sorted(names)[8:])
    (folder / "more.txt").write_text("more/000.jpg\nmore/001.jpg\n")
    return folder


def _row(number: int, name: str) -> list[str]:
    several = ";".join(label for bit, label in enumerate(LABELS) if number % 7 >> bit & 1)
    return [name, several, "val" if number % 3 == 0 else "train"]


def _list(path: Path, header: list[str], rows: list[list[str]]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])


def _coco(toy: Path, folder: Path) -> None:
    """The generated set as COCO 2014 and 2017 in datasets/coco, and its annotations as files beside it."""
    own = folder / "datasets" / "coco"
    shutil.copytree(toy, own)
    for split in ("train", "val"):
        images, annotations = own / f"{split}2017", own / "annotations"
        shutil.copytree(images, own / f"{split}2014")
        shutil.copy(annotations / f"instances_{split}2017.json", annotations / f"instances_{split}2014.json")
        export = folder / "export" / ("train" if split == "train" else "valid")
        shutil.copytree(images, export)
        shutil.copy(annotations / f"instances_{split}2017.json", export / "_annotations.coco.json")
        document = json.loads((annotations / f"instances_{split}2017.json").read_text())
        for image in document["images"]:
            image["file_name"] = f"{images.relative_to(folder)}/{image['file_name']}"
        (folder / f"{split}.json").write_text(json.dumps(document))


def sweep(shell: Shell) -> Shell:
    """runs/own: a run on photos/, trained by cluster=local as typed there, to the end."""
    own = ["data=folder", "data.root=photos", "model.group_heads=4", "cluster=local"]
    words = [*own, *(f"{key}={value}" for key, value in (small.ALWAYS | small.UNTYPED).items())]
    typed = [sys.executable, str(ROOT / "run.py"), *words]
    done = subprocess.run(typed, cwd=shell.folder, env=shell.environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    deadline = time.monotonic() + 90
    while not list(shell.folder.glob("runs/own/*/DONE")):
        assert time.monotonic() < deadline, "the run did not finish"
        time.sleep(0.2)
    return shell
