"""A loader process's work an image, from a file's bytes to a batch's crops: `python -m benchmarks.data`.

The textbook pipeline (torchvision and Pillow, streamed draws, floats) beside the trainer's three, on generated photos
of COCO's sizes, in CPU time of one thread, taken in turns. Before that, equal parameters must give equal levels: the
first table says how far the fast pipelines are from Pillow's. The limit is decoding alone, the fastest way.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch.utils.data import default_collate

from benchmarks import textbook, timing
from benchmarks.levels import FAST, Difference, differences
from benchmarks.photos import photos
from golang.config import Augment
from golang.data.crops.multicrop import MultiCrop, collate, on_device
from golang.data.images import ImageSet
from golang.data.pixels import pixels

PIPELINES = ("pil", *FAST)
TOLERANCE = {"opencv": 1.0, "device": 0.5}  # mean levels off Pillow's over whole views


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.data", description=__doc__)
    parser.add_argument("--images", type=int, default=8, help="images a batch (8)")
    parser.add_argument("--rounds", type=int, default=15, help="turns of every way (15)")
    parser.add_argument("--levels", action="store_true", help="only the differences from Pillow's pixels")
    options = parser.parse_args()
    torch.set_num_threads(1)
    files, settings, cpu = photos(options.images), Augment(), torch.device("cpu")
    whole = show_levels(files)["all"]
    for name in FAST:
        if whole[name].mean > TOLERANCE[name]:
            raise SystemExit(f"{name}: off by {whole[name].mean:.3g} levels on average from Pillow's")
    if options.levels:
        return
    with TemporaryDirectory() as folder:
        for number, data in enumerate(files):
            (Path(folder) / f"{number}.jpg").write_bytes(data)
        images = ImageSet.of(Path(folder), [f"{number}.jpg" for number in range(len(files))])
        sets = {name: MultiCrop(images, settings, 0, name) for name in PIPELINES}
        check_pillow(sets["pil"])
        views = textbook.Views(files, settings)
        random.seed(0), torch.manual_seed(0)

        def ours(name: str) -> timing.Way:
            return lambda: collate([sets[name][0, index] for index in range(len(files))])

        ways: dict[str, timing.Way] = {
            "textbook": lambda: default_collate([views[index] for index in range(len(files))]),
            **{name: ours(name) for name in PIPELINES},
            "decoding": lambda: [pixels(data) for data in files],
        }
        seconds = timing.interleaved(ways, cpu, options.rounds, cpu=True)
    base, rows = seconds["textbook"], []
    for name, taken in seconds.items():
        rows.append((name, 1e3 * taken / len(files), base / taken, seconds["decoding"] / taken))
    columns = ("pipeline", "CPU ms an image", "× textbook", "share of the limit")
    result: dict[str, object] = {
        "bench": "data",
        "pipeline": FAST[0],
        "ratio": base / seconds[FAST[0]],
        "limit_share": seconds["decoding"] / seconds[FAST[0]],
        "ratio_pil": base / seconds["pil"],
        "ratio_device": base / seconds["device"],
        **{f"levels_{name}": whole[name].mean for name in FAST},
        "ms_textbook": 1e3 * base / len(files),
    }
    timing.show(f"{len(files)} photos, 2 × 224 + 6 × 96 pixels each", columns, rows, result, cpu)


def show_levels(files: Sequence[bytes]) -> dict[str, dict[str, Difference]]:
    """Prints how far the fast pipelines are from Pillow, as a table for docs/performance.md, and returns it."""
    found = differences(files, (224, 96), draws=12)
    columns = [f"{pipeline}: {what}" for pipeline in FAST for what in ("mean", "worst")]
    print(" | ".join(["| levels of 255 off Pillow's", *columns]) + " |\n" + "|---" * (1 + len(columns)) + "|")
    for name, row in found.items():
        cells = [cell for pipeline in FAST for cell in (f"{row[pipeline].mean:.3f}", str(row[pipeline].worst))]
        print(" | ".join([f"| {name}", *cells]) + " |")
    return found


def check_pillow(dataset: MultiCrop) -> None:
    """Ends the benchmark unless our Pillow pipeline gives the textbook's views exactly, up to fp32's rounding."""
    for index in range(len(dataset)):
        image, _ = dataset.images.load_nearest(index)
        large, small = on_device(collate([dataset[0, index]]), torch.device("cpu"), torch.float32)
        crops = [*large, *(small if small is not None else ())]
        for crop, parameters in zip(crops, dataset.parameters((0, index), *image.size), strict=True):
            timing.check_equal("pil", crop, textbook.rendered(image, parameters, crop.shape[-1]), 1e-5)


if __name__ == "__main__":
    main()
