"""Measures a checkpoint by a protocol, or by nearest neighbours: which images, which weights, where the result goes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from golang import weights
from golang.config import Config, Data
from golang.data.images import ImageSet
from golang.data.sets import open_train, open_val
from golang.engine.distributed import pick_device
from golang.engine.runfolder import write_atomically
from golang.errors import CheckpointError, ConfigError
from golang.evaluation import features as feature
from golang.evaluation import protocols
from golang.evaluation.features import Features
from golang.evaluation.knn import NEIGHBOURS, TEMPERATURE, knn
from golang.evaluation.metrics import average_precision
from golang.evaluation.supervised import Supervised
from golang.method.trunk import Trunk, build_trunk

KNN_DATA = "coco2014"  # what nearest neighbours are measured on, as linear_coco is


def data_of(config: Config) -> Data:
    """The images that `evaluation.protocol` is measured on: the protocol's own set, below evaluation.root or, where
    the run trains on the same or on another COCO, below data.root. The generated set stands in for any.

    Raises ConfigError when nobody says where they are.
    """
    name, evaluation = config.evaluation.protocol, config.evaluation
    if config.data.name == "toy":
        return config.data
    wanted: Any = KNN_DATA if name == "knn" else protocols.find(name).data
    root = evaluation.root or (config.data.root if wanted[:4] == config.data.name[:4] else None)
    if root is None:
        raise ConfigError(
            f"evaluation.protocol={name} is measured on {wanted}, and data={config.data.name} is another set; "
            "set evaluation.root=FOLDER to the folder that holds it"
        )
    return Data(name=wanted, root=root, workers=config.data.workers)


def evaluate(
    name: str, checkpoint: Path, data: Data, folder: Path, device: torch.device, published: bool = False
) -> dict[str, Any]:
    """Evaluates a checkpoint (of any layout, or a run's newest) by protocol `name`, or "knn". Writes result.json to
    `folder`/`name` (with `published`, `name`-published), goes on where an interrupted evaluation stood, and returns the
    result. Raises GolangErrors as the readers, `weights.read` and `Supervised` do."""
    place = folder / (f"{name}-published" if published else name)
    trunk, origin = load_trunk(checkpoint)
    train, test = open_train(data), open_val(data)
    whole = feature.takes_whole(data)
    if name != "knn":
        protocol = protocols.find(name, published)
        return Supervised(protocol, trunk, train, test, place, device, data.workers, whole, origin).run()
    result = {"protocol": {"name": name, "neighbours": NEIGHBOURS, "temperature": TEMPERATURE}, "checkpoint": origin}
    result |= _neighbours(trunk.to(device), train, test, device, whole, data.workers)
    place.mkdir(parents=True, exist_ok=True)
    write_atomically(place / "result.json", json.dumps(result, indent=1) + "\n")
    return result


def evaluate_run(config: Config, run_dir: Path) -> dict[str, Any]:
    """Evaluates a finished run by its evaluation.protocol; the result is in its folder's evaluation/."""
    device = pick_device(config.device, 0, 1)
    name, published = config.evaluation.protocol, config.evaluation.published
    return evaluate(name, run_dir, data_of(config), run_dir / "evaluation", device, published)


def load_trunk(path: Path) -> tuple[Trunk, str]:
    """The trunk of a checkpoint of any layout, or of a run's newest, and the file it is from. Raises CheckpointError
    when it is not whole."""
    file = weights.find(path)
    found = weights.read(file)
    trunk = build_trunk(found.trunk)
    if lacking := found.missing("trunk"):
        raise CheckpointError(f"{file} lacks {len(lacking)} tensors of a {found.trunk}, such as {lacking[0]}")
    own = {name.removeprefix("trunk."): value for name, value in found.tensors.items() if name.startswith("trunk.")}
    trunk.load_state_dict(own)
    return trunk, str(file)


def _neighbours(
    trunk: Trunk, train: ImageSet, test: ImageSet, device: torch.device, whole: bool, workers: int
) -> dict[str, Any]:
    on_train, trained = feature.pooled_features([trunk], train, device, whole, workers)
    on_test, seen = feature.pooled_features([trunk], test, device, whole, workers)
    assert train.labels is not None and test.labels is not None
    labels = test.labels[seen]
    found = average_precision(knn(Features(on_train[0], train.labels[trained], on_test[0], labels), device), labels)
    points = (100 * found.per_class).round(4).tolist()
    return {
        "mAP": 100 * found.mean,
        "per_class": dict(zip(test.classes, points, strict=True)),
        "classes_without_positives": [test.classes[c] for c in found.empty],
        "train": str(train.root),
        "test": str(test.root),
        "train_images": len(trained),
        "test_images": len(seen),
    }
