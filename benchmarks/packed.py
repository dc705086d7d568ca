"""Images read from a pack, by offset, beside the same images as loose files: `python -m benchmarks.packed`.

Generated photographs of COCO's sizes, and small ones, a thousand a folder, are packed; one process reads all in the
order of an epoch, in turns, once with nothing in the page cache and once with everything. No image is decoded: this is
what the storage is asked for.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from benchmarks import timing
from benchmarks.photos import SIZES, photos
from golang.config import Data
from golang.data.images import ImageSet
from golang.data.packed import write
from golang.data.readers.folder import Folder

DROP = Path("/proc/sys/vm/drop_caches")
DIFFERENT = 32  # photographs; the files repeat them
KINDS = {"photos": SIZES, "small": ((96, 96),)}  # pixels


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.packed", description=__doc__)
    parser.add_argument("--images", type=int, default=4000, help="files of each kind (4000)")
    parser.add_argument("--rounds", type=int, default=5, help="turns of every way (5)")
    parser.add_argument("--root", type=Path, help="a folder on the storage to measure (the temporary one)")
    options = parser.parse_args()
    result: dict[str, object] = {
        "bench": "packed",
        "images": options.images,
        "forgotten_by": "drop_caches" if os.access(DROP, os.W_OK) else "posix_fadvise",
    }
    rows: list[tuple[object, ...]] = []
    for kind, pixels in KINDS.items():
        with TemporaryDirectory(dir=options.root) as folder:
            sets = _both(Path(folder), photos(DIFFERENT, sizes=pixels), options.images)
            order = torch.randperm(options.images, generator=torch.Generator().manual_seed(0)).tolist()
            opens = {name: _opens(images, order) / len(order) for name, images in sets.items()}
            if any(len({images.content(index) for images in sets.values()}) > 1 for index in order):
                raise SystemExit("the pack holds other images")
            seconds = timing.in_turns(_turns(sets, order, Path(folder)), options.rounds)
            megabytes = int(sets["loose files"].sizes().sum()) / 1e6
        for way, taken in seconds.items():
            name, heat = way.split(", ")
            ratio = seconds[f"loose files, {heat}"] / taken
            rows.append((f"{kind}: {way}", len(order) / taken, megabytes / taken, opens[name], ratio))
            if name == "pack":
                result |= {f"ratio_{kind}_{heat}": ratio, f"opens_{kind}": opens[name]}
    columns = ("read from", "images/s", "MB/s", "opens an image", "× loose files")
    timing.show(f"{options.images} files of each kind", columns, rows, result, torch.device("cpu"))


def _both(root: Path, contents: Sequence[bytes], count: int) -> dict[str, ImageSet]:
    """The same images twice."""
    for number in range(count):
        file = root / "loose" / f"{number // 1000:03d}" / f"{number:06d}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(contents[number % len(contents)])
    loose: ImageSet = Folder().read(root / "loose")
    packed: ImageSet = write.pack({"train": loose}, Data(name="folder"), root / "pack").open("train")
    return {"loose files": loose, "pack": packed}


def _turns(sets: Mapping[str, ImageSet], order: Sequence[int], root: Path) -> dict[str, Callable[[], float]]:
    turns: dict[str, Callable[[], float]] = {}
    for name, images in sets.items():
        turns[f"{name}, cold"] = partial(_seconds, images, order, partial(_forget, root))
        turns[f"{name}, warm"] = partial(_seconds, images, order, partial(_pass, images, order))
    return turns


def _pass(images: ImageSet, order: Sequence[int]) -> None:
    for index in order:
        images.content(index)


def _seconds(images: ImageSet, order: Sequence[int], prepare: Callable[[], None]) -> float:
    prepare()
    begun = time.perf_counter()
    _pass(images, order)
    return time.perf_counter() - begun


def _forget(root: Path) -> None:
    """Has the kernel forget files, and folders too where this process may ask for that."""
    os.sync()
    for path in root.rglob("*.*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)
    if os.access(DROP, os.W_OK):
        DROP.write_text("3")


def _opens(images: ImageSet, order: Sequence[int]) -> int:
    """Files that a process opens in its first pass."""
    opened, counting = 0, True

    def count(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal opened
        opened += counting and event == "open" and arguments[1] is None  # by os.open

    sys.addaudithook(count)
    _pass(images, order)
    counting = False
    return opened


if __name__ == "__main__":
    main()
