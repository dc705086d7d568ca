"""Evaluates a run, or a checkpoint of any layout by a protocol.

python -m golang.evaluation RUN_DIR                                     the quick probe, pictures and a table
python -m golang.evaluation PROTOCOL CHECKPOINT|RUN --root ROOT [...]   linear_coco, linear_voc, semisup_coco_1,
                                                                        semisup_coco_10 (SS-PRL's), or knn
python -m golang.evaluation table FOLDER                                all results below it, as JSON and Markdown
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any, get_args, get_type_hints

from golang.config import Data
from golang.demo import show_results
from golang.engine.distributed import pick_device
from golang.engine.runfolder import RunFolder
from golang.engine.worker import set_up_logging
from golang.errors import ConfigError, GolangError
from golang.evaluation import table
from golang.evaluation.protocols import PROTOCOLS
from golang.evaluation.run import KNN_DATA, evaluate
from golang.tracking.client import TrackingError
from golang.tracking.publish import publish


def main(arguments: list[str]) -> int:
    set_up_logging(0)
    try:
        if len(arguments) == 1 and not arguments[0].startswith("-"):
            show_results(arguments[0])
            _track(Path(arguments[0]))
            return 0
        if len(arguments) == 2 and arguments[0] == "table":
            data_file, text_file = table.write(Path(arguments[1]))
            print(f"{text_file.read_text()}\n{data_file}\n{text_file}")
            return 0
        options = _parse(arguments)
        name: str = options.protocol
        if options.out is None and not options.checkpoint.is_dir():
            raise ConfigError("say where the results go: --out FOLDER (a run's folder keeps them itself)")
        own: Any = KNN_DATA if name == "knn" else PROTOCOLS[name].data
        data = Data(name=options.data or own, root=options.root, workers=options.workers)
        folder = options.out or options.checkpoint / "evaluation"
        device = pick_device(options.device, 0, 1)
        result = evaluate(name, options.checkpoint, data, folder, device, options.published)
        if options.checkpoint.is_dir() and options.out is None:
            _track(options.checkpoint)
        best = f", best of all epochs {result['mAP_best']:.2f} (as published)" if "mAP_best" in result else ""
        print(f"{name}: mAP {result['mAP']:.2f}{best}; {folder}")
    except GolangError as error:
        print(error)
        return error.exit_status
    return 0


def _track(run_dir: Path) -> None:
    """Shows the results of a tracked run on W&B too, as a run of job type eval beside it."""
    if RunFolder(run_dir).config().tracking.name == "none":
        return
    try:
        print(f"W&B: {publish(run_dir, job_type='eval')}")
    except TrackingError as error:
        print(f"W&B: {error}")


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m golang.evaluation", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("protocol", choices=(*PROTOCOLS, "knn"))
    parser.add_argument("checkpoint", type=Path, help="of any layout, or a run's folder")
    names = [name for name in get_args(get_type_hints(Data)["name"]) if name != "folder"]
    parser.add_argument("--data", choices=names, help="default: the protocol's own")
    parser.add_argument("--root", help="the folder that holds the images")
    parser.add_argument("--out", type=Path, help="where the results go (a run's own evaluation folder)")
    parser.add_argument("--published", action="store_true", help="semi-supervised with a frozen trunk, as published")
    parser.add_argument("--workers", type=int, default=8, help="processes that read images (8)")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
