"""Evaluates a run, or a checkpoint of any layout by a protocol.

python -m golang.evaluation RUN_DIR                                     the quick probe, pictures and a table
python -m golang.evaluation PROTOCOL CHECKPOINT|RUN --root ROOT [...]   linear_coco, linear_voc, semisup_coco_1,
                                                                        semisup_coco_10 (SS-PRL's), or knn; and on any
                                                                        labelled set, --data NAME: linear, semisup, knn
                                                                        detect_coco, detect_voc, segment_voc; and on any
                                                                        set with boxes or masks: detect, segment
python -m golang.evaluation table FOLDER                                all results below it, as JSON and Markdown
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import get_args, get_type_hints

from golang import exits, logs
from golang.config import Config, Data, Evaluation, Part
from golang.config.checks import NUMBERS, ON_ANY_SET, TRANSFER
from golang.config.identity import run_id
from golang.config.labels import has_labels, has_objects, lacking, lacking_objects
from golang.engine.doorway import prepare
from golang.engine.rank import join
from golang.engine.session import Outcome
from golang.errors import ConfigError, GolangError
from golang.evaluation import table
from golang.evaluation.job import evaluate, track
from golang.evaluation.summary import show_results
from golang.runfolder.evaluations import DATA, data_of, result_name, results_of
from golang.runfolder.files import read_json
from golang.runfolder.folder import RunFolder
from golang.runfolder.results import RESULT
from golang.world import World


def main(arguments: list[str]) -> int:
    world = World.read()
    logs.set_up(world.rank)
    try:
        if len(arguments) == 1 and not arguments[0].startswith("-"):
            show_results(arguments[0])
            track(Path(arguments[0]), RunFolder(arguments[0]).config())
            return 0
        if len(arguments) == 2 and arguments[0] == "table":
            data_file, text_file = table.write(Path(arguments[1]))
            print(f"{text_file.read_text()}\n{data_file}\n{text_file}")
            return 0
        options = _parse(arguments)
        path, own = options.checkpoint, options.checkpoint.is_dir() and options.out is None
        if not own and options.out is None:
            raise ConfigError("say where the results go: --out FOLDER (a run's folder keeps them itself)")
        config = prepare(_asked(options), world)
        folder = results_of(config, path.absolute()) if own else options.out / result_name(config)
        with join(config, world) as rank:
            if evaluate(config, folder, rank, results=folder) is Outcome.STOPPED:
                return exits.STOPPED
        if world.rank == 0:
            if own:
                track(path, config)
            found = read_json(folder / RESULT)
            best = f", best of all epochs {found['mAP_best']:.2f} (as published)" if "mAP_best" in found else ""
            print(f"{options.protocol}: {found.get('measure', 'mAP')} {found['mAP']:.2f}{best}; {folder}")
    except GolangError as error:
        print(error)
        return error.exit_status
    return 0


def _asked(options: argparse.Namespace) -> Config:
    """The settings that evaluate the end of a finished run, the newest checkpoint of another, or a file."""
    path, run = options.checkpoint, RunFolder(options.checkpoint)
    train = Part(tuple(options.train_images), options.train_annotations)
    val = Part(tuple(options.val_images), options.val_annotations)
    name = options.data or DATA.get(options.protocol)
    if (options.data, options.root, train, val) == (None, None, Part(), Part()) and run.config_file.is_file():
        data = data_of(run.config(), options.protocol)
    elif name is None:
        raise ConfigError(
            f"{options.protocol} is measured on any labelled set; say which, as in --data list --root LIST"
        )
    else:
        data = Data(name=name, root=options.root, train=train, val=val, holdout=options.holdout)
    if options.protocol in TRANSFER and not has_objects(data):
        raise ConfigError(f"{options.protocol} needs boxes or masks: {lacking_objects(data)}")
    if not has_labels(data):
        raise ConfigError(f"{options.protocol} needs labels: {lacking(data)}")
    asked = Evaluation(
        protocol=(options.protocol,), published=options.published, checkpoint=str(path.absolute()),
        run=run_id(run.config()) if path.is_dir() and run.done else "",
        **{number: value for number in NUMBERS if (value := getattr(options, number)) is not None},
    )  # fmt: skip
    return Config(device=options.device, data=replace(data, workers=options.workers), evaluation=asked)


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m golang.evaluation", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("protocol", choices=(*DATA, *ON_ANY_SET))
    parser.add_argument("checkpoint", type=Path, help="of any layout, or a run's folder")
    names = get_args(get_type_hints(Data)["name"])
    parser.add_argument("--data", choices=names, help="default: the protocol's own, or the run's")
    parser.add_argument("--root", help="the folder or list that holds the images (default: where a run has its own)")
    for split, what in (("train", "train the classifier on"), ("val", "measure it on")):
        images = (f"--{split}-images", f"--{split}")
        parser.add_argument(*images, nargs="+", default=[], metavar="PATH", help=f"lists, or folders, to {what}")
        parser.add_argument(f"--{split}-annotations", metavar="FILE", help="of --data coco: the instances in them")
    parser.add_argument("--holdout", type=float, default=0.0, help="share of the labelled images to measure on (0)")
    parser.add_argument("--out", type=Path, help="where the results go (a run's own evaluation folder)")
    parser.add_argument("--published", action="store_true", help="a protocol as published, where ours differs")
    for number, whose in NUMBERS.items():
        if number == "frozen":
            parser.add_argument("--frozen", action="store_true", help="detect and segment leave the trunk as it is")
            continue
        kind = int if number in ("epochs", "batch_size") else float
        parser.add_argument(f"--{number.replace('_', '-')}", type=kind, help=f"of {' and '.join(whose)}")
    parser.add_argument("--workers", type=int, default=8, help="processes that read images (8)")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
