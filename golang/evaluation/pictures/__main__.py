"""Pictures of checkpoints and runs.

python -m golang.evaluation.pictures attention CHECKPOINT IMAGE… [--out FOLDER]   what each group head attends to
python -m golang.evaluation.pictures classes RUN RUN [--out FILE.png]             average precision of every class
python -m golang.evaluation.pictures detections CHECKPOINT IMAGE… [--out FOLDER]  boxes and masks that are found
python -m golang.evaluation.pictures segments CHECKPOINT IMAGE… [--out FOLDER]    the class of every pixel

The last two take a checkpoint of an evaluation that has fine-tuned on these, such as evaluation=detect_coco's.
"""

from __future__ import annotations

import argparse
import functools
import sys
from collections.abc import Sequence
from math import ceil
from pathlib import Path

import torch
from PIL import Image

from golang.data import decode
from golang.data.decode import UnreadableImageError
from golang.disk import whole
from golang.engine.rank import pick_device
from golang.errors import CheckpointError, DataError, GolangError
from golang.evaluation import features
from golang.evaluation.pictures import detections, segments
from golang.evaluation.pictures.attention import HEADS, attention_grid, load_golang, overlays
from golang.evaluation.pictures.classes import draw_classes
from golang.evaluation.table import QUICK, shown_name
from golang.evaluation.transfer import views
from golang.evaluation.transfer.networks.fcn import Segmenter
from golang.evaluation.transfer.tuned import load_network
from golang.runfolder.evaluations import DATA
from golang.runfolder.folder import RunFolder
from golang.runfolder.results import results

LEAST = 448  # pixels of an overlay's shorter side


def attention(path: Path, images: Sequence[Path], out: Path, heads: int | None, device: torch.device) -> list[Path]:
    """Writes grid.png, all images by all heads, and IMAGE-headN.png for each overlay. Returns what was written."""
    model = load_golang(path, heads).to(device)
    read = _read(images)
    shown = [features.view(image, whole=min(image.size) < features.CROP) for image in read]
    names = [file.name for file in images]
    written = [attention_grid(model, shown, names, f"of {path.name}", out / "grid.png")]
    for file, pixels in zip(images, shown, strict=True):
        for number, overlay in enumerate(overlays(model, pixels), 1):
            picture = Image.fromarray(overlay)
            picture = picture.resize([side * ceil(LEAST / min(picture.size)) for side in picture.size])
            written.append(out / f"{file.stem}-head{number}.png")
            whole.put(written[-1], functools.partial(picture.save, format="png"), durable=False)
    return written


def found(what: str, path: Path, images: Sequence[Path], out: Path, device: torch.device) -> list[Path]:
    """Writes IMAGE-detections.png or IMAGE-segments.png, as `what` says. Returns what was written. Raises
    CheckpointError for a checkpoint that does not find these."""
    network, protocol, names, pixels = load_network(path)
    network.to(device)
    finds = "segments" if isinstance(network, Segmenter) else "detections"
    if finds != what:
        raise CheckpointError(f"{path} finds {finds}; `golang show {finds} {path} IMAGE…` draws them")
    dtype = next(network.parameters()).dtype
    written = []
    for file, image in zip(images, _read(images), strict=True):
        levels = views.whole_view(image, protocol.side, protocol.longest).to(device)
        seen, size = pixels.normalise(levels, dtype), (image.height, image.width)
        written.append(out / f"{file.stem}-{what}.png")
        if isinstance(network, Segmenter):
            segments.draw(image, network.segment(seen, size).cpu().numpy(), names, written[-1])
        else:
            detections.draw(image, network.detect([seen], [size])[0], names, written[-1])
    return written


def _read(files: Sequence[Path]) -> list[Image.Image]:
    """Raises DataError for images that cannot be read, and for two whose pictures would be of one name."""
    if len({file.stem for file in files}) < len(files):
        raise DataError("two of the images have the same name, so their pictures would overwrite each other")
    read = []
    for file in files:
        try:
            read.append(decode.read(file, upright=True))
        except UnreadableImageError as error:
            raise DataError(f"{file} cannot be shown: {error}") from error
    return read


def classes(runs: tuple[Path, Path], out: Path, evaluation: str | None = None) -> Path:
    """Draws two runs by `evaluation`, by default the first protocol that both were measured by, else the quick probe.
    Raises DataError where they have none in common."""
    found = [_per_class(run) for run in runs]
    shared = sorted(found[0].keys() & found[1].keys(), key=lambda name: (name == QUICK, name))
    both = [*(name for name in DATA if name in shared), *shared]
    name = evaluation or (both[0] if both else QUICK)
    for run, scores in zip(runs, found, strict=True):
        if name not in scores:
            how = str(run) if name == QUICK else f"{name} {run}"
            raise DataError(f"{run} has not been evaluated by {name}; `python -m golang.evaluation {how}` does it")
    short = (runs[0].name, runs[1].name) if runs[0].name != runs[1].name else (str(runs[0]), str(runs[1]))
    names = (f"{short[0]}, {name}", f"{short[1]}, {name}")
    return draw_classes(names, (found[0][name], found[1][name]), out)


def _per_class(run: Path) -> dict[str, dict[str, float]]:
    """Average precisions by evaluation."""
    found = results(RunFolder(run)).items()
    return {shown_name(name): facts["per_class"] for name, facts in found if "per_class" in facts}


def main(arguments: list[str] | None = None) -> int:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("python -m golang.evaluation.pictures", description=__doc__, formatter_class=raw)
    commands = parser.add_subparsers(dest="command", required=True)
    heads = commands.add_parser("attention", help="what each group head attends to")
    heads.add_argument("checkpoint", type=Path, help="of any layout with a local branch, or a run's folder")
    heads.add_argument("images", type=Path, nargs="+", metavar="IMAGE")
    heads.add_argument("--out", type=Path, default=Path("attention"), help="folder (attention)")
    heads.add_argument("--heads", type=int, help=f"group heads (what a run's checkpoint says, else {HEADS})")
    heads.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    bars = commands.add_parser("classes", help="average precision of every class of two runs")
    bars.add_argument("runs", type=Path, nargs=2, metavar="RUN")
    bars.add_argument("--out", type=Path, default=Path("classes.png"), help="file (classes.png)")
    bars.add_argument("--evaluation", metavar="NAME", help="such as linear_coco (the first that both have)")
    for name, draws in (("detections", "boxes and masks that are found"), ("segments", "the class of every pixel")):
        one = commands.add_parser(name, help=draws)
        one.add_argument("checkpoint", type=Path, help="of an evaluation that has fine-tuned on these, or its folder")
        one.add_argument("images", type=Path, nargs="+", metavar="IMAGE")
        one.add_argument("--out", type=Path, default=Path(name), help=f"folder ({name})")
        one.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    options = parser.parse_args(arguments)
    try:
        if options.command == "classes":
            print(classes((options.runs[0], options.runs[1]), options.out, options.evaluation))
            return 0
        device = pick_device(options.device)
        what, path, images, out = options.command, options.checkpoint, options.images, options.out
        if what == "attention":
            written = attention(path, images, out, options.heads, device)
        else:
            written = found(what, path, images, out, device)
        print(*written, sep="\n")
    except GolangError as error:
        print(error)
        return error.exit_status
    return 0


if __name__ == "__main__":
    sys.exit(main())
