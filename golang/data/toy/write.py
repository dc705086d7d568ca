"""`data=toy`: generated scenes on disk, JPEGs and annotations laid out like COCO 2017.

The set's bytes depend on its specification alone, not on the number of processes that drew it. It appears under its
name by one rename, complete or not at all.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import itertools
import json
import operator
import os
import secrets
import shlex
import shutil
import socket
from pathlib import Path
from typing import Any

from PIL import Image

from golang.config import Toy
from golang.data.pool import processors, spread
from golang.data.progress import Advance, shown
from golang.data.toy import glyphs, scene
from golang.data.toy.truth import run_lengths
from golang.disk import whole
from golang.errors import ConfigError, DataError

RECIPE = 1  # rises whenever the same specification would draw other scenes
MARK = "toy.json"  # the specification a finished folder was written by
MASKED = {"masks": True}  # of an annotation file's info, since the set has masks
CHUNK = 64  # images a task
QUALITY = 90  # JPEG
_HEAD = 1024  # bytes of an annotation file that its info begins in


def default_root(spec: Toy) -> Path:
    """Where a set lies if nobody says otherwise, relative to the working directory."""
    return Path("datasets") / f"toy-{hashlib.sha256(_mark(spec).encode()).hexdigest()[:8]}"


def check(spec: Toy) -> None:
    """Raises ConfigError for a set that cannot be drawn."""
    known = len(glyphs.NAMES)
    bounds = (("classes", 1, known), ("size", 16, 1024), ("train", 1, 10**6), ("val", 1, 10**6), ("seed", 0, 2**63))
    for name, least, most in bounds:
        if not least <= getattr(spec, name) <= most:
            why = ", the glyphs there are" if name == "classes" else ""
            raise ConfigError(f"data.toy.{name}={getattr(spec, name)} must be between {least} and {most}{why}")


def write(root: Path, spec: Toy, workers: int | None = None, progress: Advance | None = None) -> Path:
    """Writes the set to `root` unless it is there already, by `workers` processes (default: one for each processor,
    none for few images), and tells `progress`, or a person, how far it has come. Returns `root`. Raises ConfigError for
    a set that cannot be drawn; DataError if `root` holds anything else, or without matplotlib."""
    check(spec)
    if _is_finished(root, spec):
        return root
    glyphs.load(spec.classes)  # without matplotlib, fail here and not in every process
    place = root.resolve()
    partial = place.parent / f"{_prefix(place)}{os.getpid()}.{secrets.token_hex(4)}"
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(place)
        partial.mkdir()
        with contextlib.nullcontext(progress) if progress else shown("drawing scenes") as advance:
            _fill(partial, spec, _workers(spec, workers), advance)
        (partial / MARK).write_text(_mark(spec))
        partial.rename(place)
    except OSError as error:
        if not _is_finished(root, spec):  # else another process was faster, with the same bytes
            raise DataError(f"data=toy cannot be written to {root} ({error}): choose another data.root") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return root


def has_masks(root: Path) -> bool:
    """Whether the finished set in `root` was written with masks, or has been given them."""
    fact = json.dumps(MASKED)[1:-1].encode()
    return all(fact in _head(_annotations(root, split)) for split in scene.SPLITS)


def command(root: Path, spec: Toy) -> str:
    """What writes this set to `root`, or gives masks to one that has none, quoted for a shell."""
    plain = dataclasses.asdict(Toy())
    own = [f"--{name}={value}" for name, value in dataclasses.asdict(spec).items() if value != plain[name]]
    return shlex.join(["python", "-m", "golang.data.toy", "--root", str(root), *own])


def add_masks(root: Path, spec: Toy, workers: int | None = None, progress: Advance | None = None) -> None:
    """Gives a finished set the masks that it was written without; its images and labels stay as they are. Raises
    DataError where its scenes cannot be drawn again as they were."""
    with contextlib.nullcontext(progress) if progress else shown("drawing masks") as advance:
        documents = _documents(None, spec, _workers(spec, workers), advance)
    for split, document in documents.items():
        path = _annotations(root, split)
        drawn = [{**one, "segmentation": []} for one in document["annotations"]]
        if (before := json.loads(path.read_text())["annotations"]) not in (drawn, document["annotations"]):
            which = next((one["id"] for one, own in zip(before, drawn) if one != own), "the last one")  # noqa: B905
            raise DataError(
                f"{path}: the glyphs of this matplotlib are not those the set was drawn with (annotation {which}); "
                f"take the matplotlib that drew it, or write another set: {command(Path('FOLDER'), spec)}"
            )
        whole.put(path, operator.methodcaller("write", json.dumps(document).encode()), mode=0o666)


def _annotations(root: Path, split: str) -> Path:
    return root / "annotations" / f"instances_{split}.json"


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_HEAD)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}; check its permissions and the disk") from error


def _mark(spec: Toy) -> str:
    return json.dumps({"recipe": RECIPE, **dataclasses.asdict(spec)}) + "\n"


def _is_finished(root: Path, spec: Toy) -> bool:
    """Whether `root` holds this very set; False if there is nothing. Raises DataError for anything else."""
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return False
    remedy = "choose another data.root, or delete it to have it written anew"
    try:
        found = (root / MARK).read_text()
    except OSError as error:
        raise DataError(f"{root} is no finished toy set ({MARK} cannot be read): {remedy}") from error
    if found != _mark(spec):
        both = f"  found  {found.strip()}\n  wanted {_mark(spec).strip()}"
        raise DataError(f"{root} holds another toy set: {remedy}\n{both}")
    return True


def _prefix(root: Path) -> str:
    """What the names of unfinished folders on this machine start with; the process id follows."""
    return f".{root.name}.{socket.gethostname()}."


def _remove_abandoned(root: Path) -> None:
    """Removes what dead processes of this machine left behind."""
    prefix = _prefix(root)
    for path in root.parent.iterdir():
        owner = path.name.removeprefix(prefix).split(".")[0]
        if path.name.startswith(prefix) and owner.isdigit():
            try:
                os.kill(int(owner), 0)
            except ProcessLookupError:
                shutil.rmtree(path, ignore_errors=True)
            except OSError:
                pass  # it lives, and is someone else's


def _fill(folder: Path, spec: Toy, workers: int, progress: Advance) -> None:
    """Draws every image into `folder` and writes the annotations."""
    for name in ("annotations", *scene.SPLITS):
        (folder / name).mkdir()
    for split, document in _documents(folder, spec, workers, progress).items():
        _annotations(folder, split).write_text(json.dumps(document))


def _workers(spec: Toy, workers: int | None) -> int:
    """No process for fewer images than take as long as starting it."""
    return workers or min(processors(), (spec.train + spec.val) // 512)


def _documents(folder: Path | None, spec: Toy, workers: int, progress: Advance) -> dict[str, Any]:
    """What to write of each split, once every image is drawn, into `folder` if there is one."""
    images = spec.train + spec.val
    progress(0, images)
    drawn = dict(spread(functools.partial(_draw, folder, spec), images, CHUNK, workers, progress))
    entries = [entry for start in sorted(drawn) for entry in drawn[start]]
    number = itertools.count()
    documents: dict[str, Any] = {}
    for split, own in zip(scene.SPLITS, (entries[: spec.train], entries[spec.train :]), strict=True):
        documents[split] = {
            "info": {"description": "generated scenes", "recipe": RECIPE, "toy": dataclasses.asdict(spec), **MASKED},
            "licenses": [],
            "images": [image for image, _ in own],
            "annotations": [{"id": _gapped(next(number)), **one} for _, annotations in own for one in annotations],
            "categories": [
                {"id": _gapped(n), "name": glyphs.NAMES[n], "supercategory": f"scene {scene.of_class(n, spec.classes)}"}
                for n in range(spec.classes)
            ],
        }
    return documents


def _draw(folder: Path | None, spec: Toy, start: int, stop: int) -> list[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """Draws the images from `start` to before `stop`, the training images counted first, into `folder` if there is one.
    Returns their entries in
    COCO's list of images, each with those in the list of annotations, which lack their ids."""
    entries = []
    for position in range(start, stop):
        split = scene.SPLITS[position >= spec.train]
        drawn = scene.render(spec, split, position - (0 if split == "train2017" else spec.train))
        identity = _gapped(position)
        file = f"{identity:012d}.jpg"
        if folder is not None:  # No chroma subsampling: a small glyph's colour would bleed.
            Image.fromarray(drawn.image).save(folder / split / file, quality=QUALITY, subsampling=0)
        image = {"id": identity, "file_name": file, "width": spec.size, "height": spec.size, "scene": drawn.number}
        annotations = [
            {"image_id": identity, "category_id": _gapped(thing.category), "bbox": list(thing.bbox),
             "area": thing.area, "iscrowd": 0,
             "segmentation": {"counts": run_lengths(drawn.owner == number), "size": [spec.size, spec.size]}}
            for number, thing in enumerate(drawn.things) if thing.labelled
        ]  # fmt: skip
        entries.append((image, annotations))
    return entries


def _gapped(position: int) -> int:
    """An id for the thing at `position`: 1 2 3 4 5 6 7 8 10 11 …, with gaps, as COCO's ids have them."""
    return 1 + position + position // 8
