"""Evaluates a run, or a checkpoint of any layout by a protocol.

python -m golang.evaluation RUN_DIR                                     the quick probe, pictures and a table
python -m golang.evaluation PROTOCOL CHECKPOINT|RUN --root ROOT [...]   linear_coco, linear_voc, semisup_coco_1,
                                                                        semisup_coco_10 (SS-PRL's), or knn
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import get_args, get_type_hints

from golang import weights
from golang.config import Data
from golang.data.sets import open_train, open_val
from golang.demo import show_results
from golang.engine.distributed import pick_device
from golang.engine.runfolder import write_atomically
from golang.engine.worker import set_up_logging
from golang.errors import ConfigError, GolangError
from golang.evaluation import features as feature
from golang.evaluation import protocols
from golang.evaluation.features import Features
from golang.evaluation.knn import NEIGHBOURS, TEMPERATURE, knn
from golang.evaluation.supervised import Supervised
from golang.method.trunk import Trunk, build_trunk

NAMES = (*protocols.PROTOCOLS, "knn")


def load_trunk(path: Path) -> tuple[Trunk, str]:
    """The trunk of a checkpoint of any layout, or of a run's folder, and the file it is from."""
    file = weights.find(path)
    found = weights.read(file)
    trunk = build_trunk(found.trunk)
    lacking = found.missing("trunk")
    if lacking:
        raise ConfigError(f"{file} lacks {len(lacking)} tensors of a {found.trunk}, such as {lacking[0]}")
    own = {name.removeprefix("trunk."): value for name, value in found.tensors.items() if name.startswith("trunk.")}
    trunk.load_state_dict(own)
    return trunk, str(file)


def evaluate(options: argparse.Namespace) -> Path:
    """Evaluates by `options.protocol`; the folder of the result."""
    name: str = options.protocol
    protocol = None if name == "knn" else protocols.find(name, options.published)
    default = protocol.data if protocol else "coco2014"
    data = Data(name=options.data or default, root=options.root, workers=options.workers)
    trunk, origin = load_trunk(options.checkpoint)
    folder: Path | None = options.out
    if folder is None:
        if not options.checkpoint.is_dir():
            raise ConfigError("say where the results go: --out FOLDER (a run's folder keeps them itself)")
        folder = Path(options.checkpoint) / "evaluation"
    folder = folder / (f"{name}-published" if options.published else name)
    device = pick_device(options.device, 0, 1)
    train, test = open_train(data), open_val(data)
    whole = min(train.load_nearest(0)[0].size) < feature.CROP and data.name == "toy"
    if protocol is not None:
        Supervised(protocol, trunk, train, test, folder, device, options.workers, whole, origin).run()
        return folder
    trunk.to(device)
    on_train, trained = feature.pooled_features([trunk], train, device, whole, options.workers)
    on_test, seen = feature.pooled_features([trunk], test, device, whole, options.workers)
    assert train.labels is not None and test.labels is not None
    found = knn(Features(on_train[0], train.labels[trained], on_test[0], test.labels[seen]), device)
    result = {"protocol": {"name": "knn", "neighbours": NEIGHBOURS, "temperature": TEMPERATURE}, "data": asdict(data),
              "checkpoint": origin, "mAP": 100 * found.mean,
              "per_class": dict(zip(test.classes, (100 * found.per_class).tolist(), strict=True))}  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / "result.json", json.dumps(result, indent=1) + "\n")
    return folder


def main(arguments: list[str]) -> int:
    set_up_logging(0)
    try:
        if len(arguments) == 1 and not arguments[0].startswith("-"):
            show_results(arguments[0])
            return 0
        parser = argparse.ArgumentParser(
            prog="python -m golang.evaluation",
            description=__doc__,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        parser.add_argument("protocol", choices=NAMES)
        parser.add_argument("checkpoint", type=Path, help="of any layout, or a run's folder")
        names = [name for name in get_args(get_type_hints(Data)["name"]) if name != "folder"]
        parser.add_argument("--data", choices=names, help="default: the protocol's own")
        parser.add_argument("--root", help="the folder that holds the images")
        parser.add_argument("--out", type=Path, help="where the results go (a run's own evaluation folder)")
        parser.add_argument(
            "--published", action="store_true", help="semi-supervised with a frozen trunk, as published"
        )
        parser.add_argument("--workers", type=int, default=8, help="processes that read images (8)")
        parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
        folder = evaluate(parser.parse_args(arguments))
        result = json.loads((folder / "result.json").read_text())
        best = f", best of all epochs {result['mAP_best']:.2f} (as published)" if "mAP_best" in result else ""
        print(f"{arguments[0]}: mAP {result['mAP']:.2f}{best}\n{folder / 'result.json'}")
    except GolangError as error:
        print(error)
        return error.exit_status
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
