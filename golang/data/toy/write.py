"""`data=toy`: generated scenes on disk, JPEGs and annotations laid out like COCO 2017.

    python -m golang.data.toy                       # the default set, in datasets/
    python -m golang.data.toy --sheet scenes.png    # and a picture of 72 of its validation images

The set's bytes depend on its specification alone, not on the number of processes that drew it. It appears under its
name by one rename, complete or not at all.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import multiprocessing
import os
import secrets
import shutil
import signal
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from golang.config import Toy
from golang.data.progress import Progress, shown
from golang.data.toy import glyphs, scene
from golang.errors import ConfigError, DataError

RECIPE = 1  # rises whenever the same specification would draw other scenes
MARK = "toy.json"  # the specification a finished folder was written by
CHUNK = 64  # images a task
QUALITY = 90  # JPEG


def default_root(spec: Toy) -> Path:
    """Where a set lies if nobody says otherwise, relative to the working directory."""
    return Path("datasets") / f"toy-{hashlib.sha256(_mark(spec).encode()).hexdigest()[:8]}"


def check(spec: Toy) -> None:
    """Raises ConfigError for a set that cannot be drawn."""
    glyphs.check_count(spec.classes)
    for name, least, most in (("size", 16, 1024), ("train", 1, 10**6), ("val", 1, 10**6), ("seed", 0, 2**63)):
        value = getattr(spec, name)
        if not least <= value <= most:
            raise ConfigError(f"data.toy.{name}={value} must be between {least} and {most}")


def write(root: Path, spec: Toy, workers: int | None = None, progress: Progress | None = None) -> Path:
    """Writes the set to `root` unless it is there already. Returns `root`.

    `workers` is the number of processes (default: one for each processor of this process, fewer for a small set).
    Raises ConfigError for a set that cannot be drawn; DataError if `root` holds anything else, or without matplotlib.
    """
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
        _fill(partial, spec, workers or _processes(spec), progress or (lambda done, total: None))
        (partial / MARK).write_text(_mark(spec))
        partial.rename(place)
    except OSError as error:
        if not _is_finished(root, spec):  # else another process was faster, with the same bytes
            raise DataError(f"data=toy cannot be written to {root} ({error}): choose another data.root") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return root


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
        raise DataError(
            f"{root} holds another toy set: {remedy}\n  found  {found.strip()}\n  wanted {_mark(spec).strip()}"
        )
    return True


def _prefix(root: Path) -> str:
    """What the names of unfinished folders on this machine start with; the process id follows."""
    return f".{root.name}.{socket.gethostname()}."


def _remove_abandoned(root: Path) -> None:
    """Removes what dead processes of this machine left behind."""
    prefix = _prefix(root)
    for path in root.parent.iterdir():
        owner = path.name.removeprefix(prefix).split(".")[0]
        if path.name.startswith(prefix) and owner.isdigit() and not _is_alive(int(owner)):
            shutil.rmtree(path, ignore_errors=True)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # someone else's
        return True
    return True


# --- drawing ---------------------------------------------------------------------------------------------------------

Entry = dict[str, Any]  # an entry of COCO's "images"
Annotation = dict[str, Any]  # and of its "annotations", still without its id
Drawn = list[tuple[Entry, list[Annotation]]]


def _fill(folder: Path, spec: Toy, workers: int, progress: Progress) -> None:
    """Draws every image into `folder` and writes the annotations."""
    (folder / "annotations").mkdir()
    tasks: list[tuple[scene.Split, int, int]] = []
    for split in scene.SPLITS:
        (folder / split).mkdir()
        images = _images(spec, split)
        tasks += [(split, start, min(start + CHUNK, images)) for start in range(0, images, CHUNK)]
    drawn: dict[int, Drawn] = {}
    done, total = 0, spec.train + spec.val
    progress(done, total)
    for position, entries in _run(folder, spec, tasks, workers):
        drawn[position] = entries
        done += len(entries)
        progress(done, total)
    identity = 0
    for split in scene.SPLITS:
        entries = [entry for position, task in enumerate(tasks) if task[0] == split for entry in drawn[position]]
        annotations = []
        for _, unnumbered in entries:
            for annotation in unnumbered:
                annotations.append({"id": _gapped(identity), **annotation})
                identity += 1
        content = {
            "info": {"description": "generated scenes", "recipe": RECIPE, "toy": dataclasses.asdict(spec)},
            "licenses": [],
            "images": [image for image, _ in entries],
            "annotations": annotations,
            "categories": [
                {
                    "id": _gapped(category),
                    "name": glyphs.NAMES[category],
                    "supercategory": f"scene {scene.of_class(category, spec.classes)}",
                }
                for category in range(spec.classes)
            ],
        }
        (folder / "annotations" / f"instances_{split}.json").write_text(json.dumps(content))


def _run(
    folder: Path, spec: Toy, tasks: list[tuple[scene.Split, int, int]], workers: int
) -> Iterator[tuple[int, Drawn]]:
    """(position of the task, what it drew), in any order."""
    if workers == 1:
        for position, task in enumerate(tasks):
            yield position, _draw(folder, spec, *task)
        return
    # Not forked from this process, which may hold threads and a GPU, but from a server that did the imports once.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([scene.__name__])
    pool = ProcessPoolExecutor(workers, context, _follow_parent)
    left = dict(enumerate(tasks))
    try:
        futures: dict[Future[Drawn], int] = {
            pool.submit(_draw, folder, spec, *task): position for position, task in left.items()
        }
        for future in as_completed(futures):
            drawn = future.result()
            del left[futures[future]]
            yield futures[future], drawn
    except BrokenProcessPool:
        # A process was killed, or could not import the main module again (it may be standard input): go on alone.
        for position, task in left.items():
            yield position, _draw(folder, spec, *task)
    finally:
        pool.shutdown(cancel_futures=True)


def _follow_parent() -> None:
    """Leaves Ctrl-C to the parent, and dies with it: an orphan would write into a folder that counts as abandoned."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def follow() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


def _draw(folder: Path, spec: Toy, split: scene.Split, start: int, stop: int) -> Drawn:
    """Draws the images from `start` to before `stop`. Returns each one's entry and its annotations."""
    entries = []
    for index in range(start, stop):
        drawn = scene.render(spec, split, index)
        identity = _gapped(index if split == "train2017" else spec.train + index)
        image = {
            "id": identity,
            "file_name": f"{identity:012d}.jpg",
            "width": spec.size,
            "height": spec.size,
            "scene": drawn.number,
        }
        # No chroma subsampling: a small glyph's colour would bleed.
        Image.fromarray(drawn.image).save(folder / split / str(image["file_name"]), quality=QUALITY, subsampling=0)
        annotations: list[Annotation] = [
            {
                "image_id": identity,
                "category_id": _gapped(thing.category),
                "bbox": list(thing.bbox),
                "area": thing.area,
                "iscrowd": 0,
                "segmentation": [],
            }
            for thing in drawn.things
            if thing.labelled
        ]
        entries.append((image, annotations))
    return entries


def _gapped(position: int) -> int:
    """An id for the thing at `position`: 1 2 3 4 5 6 7 8 10 11 …, with gaps, as COCO's ids have them."""
    return 1 + position + position // 8


def _images(spec: Toy, split: scene.Split) -> int:
    return spec.train if split == "train2017" else spec.val


def _processes(spec: Toy) -> int:
    """One for each processor this process may use, but none for fewer images than take as long as starting it."""
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(available, (spec.train + spec.val) // 512))


def provide(root: Path, spec: Toy) -> Path:
    """As `write`, with its progress shown if the set has yet to be drawn."""
    if _is_finished(root, spec):
        return root
    with shown("drawing scenes") as progress:
        return write(root, spec, progress=progress)


def sheet(spec: Toy, columns: int = 12, rows: int = 6, cell: int = 128) -> Image.Image:
    """A contact sheet of the first validation images, their labels beneath."""
    check(spec)
    gap, caption = 6, 26
    page = Image.new("RGB", (columns * (cell + gap) + gap, rows * (cell + caption + gap) + gap), (24, 24, 27))
    pen = ImageDraw.Draw(page)
    for index in range(columns * rows):
        drawn = scene.render(spec, "val2017", index)
        x, y = gap + index % columns * (cell + gap), gap + index // columns * (cell + caption + gap)
        page.paste(Image.fromarray(drawn.image).resize((cell, cell), Image.Resampling.BICUBIC), (x, y))
        names = sorted({glyphs.NAMES[thing.category] for thing in drawn.things if thing.labelled})
        lines = [" · ".join(names[:2]), " · ".join(names[2:4]) + (" …" if len(names) > 4 else "")]
        pen.multiline_text((x + 1, y + cell + 2), "\n".join(lines), fill=(190, 190, 196), font_size=10, spacing=1)
    return page
