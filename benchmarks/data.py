"""A loader process's work an image, from a file's bytes to a batch's crops: `python -m benchmarks.data`.

The textbook pipeline (torchvision and Pillow, streamed draws, floats) beside the trainer's three, on generated photos
of COCO's sizes, in CPU time of one thread, taken in turns. Before that, equal parameters must give equal levels: the
table says how far each pipeline is from Pillow's, and `--levels` says it operation by operation. The limit is decoding
alone.
"""

from __future__ import annotations

import argparse
import importlib.util
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import default_collate

from benchmarks import textbook, timing
from benchmarks.photos import photos
from golang.config import Augment
from golang.data import augment, decode, jitter
from golang.data.augment import Color, ViewParameters
from golang.data.images import ImageSet
from golang.data.multicrop import MultiCrop, Pipeline, collate, on_device, opened

OPENCV: tuple[Pipeline, ...] = ("opencv",) if importlib.util.find_spec("cv2") else ()
PIPELINES: tuple[Pipeline, ...] = ("pil", *OPENCV, "device")
TOLERANCE = {"pil": 0.02, "opencv": 1.0, "device": 0.5}  # mean levels; Pillow's own is exact up to fp32
# Each operation of a view on its own: what it changes in parameters that only crop and resize.
ALONE: dict[str, dict[str, Any]] = {
    "crop and resize": {},
    "flip": {"flip": True},
    "brightness × 1.5": {"color": Color((0, 1, 2, 3), (1.5, 1.0, 1.0, 0.0))},
    "contrast × 0.4": {"color": Color((0, 1, 2, 3), (1.0, 0.4, 1.0, 0.0))},
    "saturation × 1.7": {"color": Color((0, 1, 2, 3), (1.0, 1.0, 1.7, 0.0))},
    "hue + 0.15": {"color": Color((0, 1, 2, 3), (1.0, 1.0, 1.0, 0.15))},
    "all four colours": {"color": Color((3, 1, 0, 2), (1.5, 0.4, 1.7, -0.15))},
    "grayscale": {"gray": True},
    "blur, radius 0.5": {"blur_radius": 0.5},
    "blur, radius 2": {"blur_radius": 2.0},
    "everything": {"flip": True, "color": Color((1, 3, 2, 0), (1.3, 0.8, 1.4, 0.1)), "blur_radius": 1.2},
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.data", description=__doc__)
    parser.add_argument("--images", type=int, default=8, help="images a batch (8)")
    parser.add_argument("--rounds", type=int, default=15, help="turns of every way (15)")
    parser.add_argument("--levels", action="store_true", help="only how far each operation is from Pillow's")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.levels:
        levels([decode.decode(data) for data in photos(options.images)])
        return
    files, settings, cpu = photos(options.images), Augment(), torch.device("cpu")
    with TemporaryDirectory() as folder:
        for number, data in enumerate(files):
            (Path(folder) / f"{number}.jpg").write_bytes(data)
        images = ImageSet.of(Path(folder), [f"{number}.jpg" for number in range(len(files))])
        sets = {name: MultiCrop(images, settings, 0, name) for name in PIPELINES}
        differences = {name: compare(dataset) for name, dataset in sets.items()}
        views = textbook.Views(files, settings)
        random.seed(0), torch.manual_seed(0)

        def ours(name: str) -> timing.Way:
            return lambda: collate([sets[name][0, index] for index in range(len(files))])

        ways: dict[str, timing.Way] = {
            "textbook": lambda: default_collate([views[index] for index in range(len(files))]),
            **{name: ours(name) for name in PIPELINES},
            "decoding": lambda: [decode.decode(data) for data in files],
        }
        seconds = timing.interleaved(ways, cpu, options.rounds, cpu=True)
    base, rows = seconds["textbook"], []
    fast = "opencv" if OPENCV else "device"
    for name, taken in seconds.items():
        mean, worst = differences.get(name, ("", ""))
        rows.append((name, 1e3 * taken / len(files), base / taken, seconds["decoding"] / taken, mean, worst))
    columns = ("pipeline", "CPU ms an image", "× textbook", "share of the limit", "mean level off", "worst")
    result: dict[str, object] = {
        "bench": "data",
        "ratio": base / seconds[fast],
        "limit_share": seconds["decoding"] / seconds[fast],
        "pipeline": fast,
        **{f"ratio_{name}": base / seconds[name] for name in PIPELINES},
        "ms_textbook": 1e3 * base / len(files),
    }
    timing.show(f"{len(files)} photos, 2 × 224 + 6 × 96 pixels each", columns, rows, result, cpu)


def compare(dataset: MultiCrop) -> tuple[float, float]:
    """Mean and worst difference in levels from the textbook's rendering of the same parameters, over all crops."""
    offs: list[Tensor] = []
    for index in range(len(dataset)):
        image, _ = dataset.images.load_nearest(index)
        large, small = on_device(collate([dataset[0, index]]), torch.device("cpu"), torch.float32)
        crops = [*large, *(small if small is not None else ())]
        for crop, parameters in zip(crops, dataset.parameters((0, index), *image.size), strict=True):
            expected = textbook.rendered(image, parameters, crop.shape[-1])
            offs.append(((crop - expected).abs() * torch.tensor(augment.STD).view(3, 1, 1) * 255).flatten())
    mean, worst = float(torch.cat(offs).mean()), float(torch.cat(offs).max())
    if mean > TOLERANCE[dataset.pipeline]:
        raise SystemExit(f"{dataset.pipeline}: off by {mean:.3g} levels on average from Pillow's")
    return mean, worst


def rendered(image: Image.Image, parameters: ViewParameters, size: int, pipeline: Pipeline) -> Tensor:
    """One view by a pipeline, start to end, as uint8 [3, size, size]."""
    crop = opened(image, pipeline)(parameters, size)
    if pipeline != "device":
        return crop
    return jitter.adjust(crop[None], torch.tensor([jitter.pack(parameters)]))[0]


def off(images: Sequence[Image.Image], changes: dict[str, Any], pipeline: Pipeline) -> tuple[float, float]:
    """Mean and worst difference in levels from Pillow's, of a large and a small crop of each image."""
    differences = []
    for image in images:
        for share, size in ((1.5, 224), (4, 96)):
            box = (image.height // 9, image.width // 7, int(image.height // share), int(image.width // (1.2 * share)))
            view = replace(ViewParameters(box, False, None, False, None), **changes)
            pair = (rendered(image, view, size, one).short() for one in ("pil", pipeline))
            differences.append((next(pair) - next(pair)).abs().flatten())
    every = torch.cat(differences).double()
    return float(every.mean()), float(every.max())


def levels(images: Sequence[Image.Image]) -> None:
    """Prints a table of `off`, operation by operation."""
    rows: list[list[object]] = []
    for name, changes in ALONE.items():
        row: list[object] = [name]
        for pipeline in PIPELINES[1:]:
            mean, worst = off(images, changes, pipeline)
            row += [f"{mean:.3f}", round(worst)]
        rows.append(row)
    columns = ["levels of 255 off", *(f"{name}: {what}" for name in PIPELINES[1:] for what in ("mean", "worst"))]
    timing.table(f"{len(images)} photos, crops of 224 and 96 pixels, beside Pillow's", columns, rows)


if __name__ == "__main__":
    main()
