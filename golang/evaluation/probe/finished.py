"""Evaluates a run: its trunk's linear probe beside that of an untrained trunk and chance, as JSON in the run folder."""

from __future__ import annotations

import json
import logging
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from golang.config import Config
from golang.config.identity import run_id
from golang.data.images import ImageSet
from golang.data.sets import open_labelled
from golang.engine.rank import pick_device
from golang.errors import CheckpointError, DataError
from golang.evaluation import features as feature
from golang.evaluation.average_precision import AveragePrecision
from golang.evaluation.features import Features
from golang.evaluation.probe.regression import HELD_OUT, STRENGTHS, Probe, chance, linear_probe
from golang.method.build import build_model
from golang.method.model import SwAV
from golang.runfolder import files
from golang.runfolder.checkpoints import latest
from golang.runfolder.files import read_json
from golang.runfolder.folder import RunFolder
from golang.weights import sealed

log = logging.getLogger(__name__)
PROTOCOL = "L2-regularised logistic regression on standardised pooled features"
VERSION = 1  # rises whenever the same features would get another figure


@dataclass(frozen=True)
class Score:
    """One row of an evaluation, in points: 100 × average precision."""

    mAP: float  # noqa: N815 - what everyone calls it
    per_class: dict[str, float]
    classes_without_positives: list[str]  # which count 0


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate_run` found, or had found before."""

    checkpoint: str
    linear: Score  # the run's trunk
    random_init: Score  # the same trunk before its first step
    chance: Score


def evaluation_folder(run_dir: Path | str) -> Path:
    return Path(run_dir) / "evaluation"


def load_model(run: RunFolder, device: torch.device) -> tuple[SwAV, Path, int]:
    """The network of the run's newest whole checkpoint, its file, and the steps it has done.

    Raises CheckpointError when there is none.
    """
    path = latest(run)
    if path is None:
        raise CheckpointError(f"{run.path} has no checkpoint to evaluate; train it first")
    state = sealed.read(path)
    model = build_model(run.config())
    model.load_state_dict(state["model"])
    return _placed(model, device), path, int(state["step"])


def evaluate_run(run_dir: Path | str, workers: int | None = None) -> Evaluation:
    """Probes the run's newest checkpoint and an untrained trunk of the same seed; writes evaluation/linear.json and
    random_init.json. What has been measured for that checkpoint is reused.

    Raises CheckpointError without a checkpoint, DataError for images without labels.

    Args:
        workers: processes that decode images; default: data.workers, or none for small images.
    """
    run = RunFolder(run_dir)
    config = run.config()
    began = time.monotonic()
    device = pick_device(config.device, 0, 1)
    model, path, step = load_model(run, device)
    known = _known(run, path.name)
    if known is not None:
        return known
    train, val = _open(config)
    whole = feature.takes_whole(config.data)
    workers = workers if workers is not None else (0 if whole else config.data.workers)
    log.info("evaluating %s: features of %d + %d images", path.name, len(train), len(val))
    kept = evaluation_folder(run_dir) / "features.npz"
    origin = f"{run_id(config)} {path.name}"
    learned = feature.load(kept, origin)
    untrained = _placed(build_model(config), device)
    trunks = [untrained.trunk] if learned else [untrained.trunk, model.trunk]
    on_train, trained = feature.pooled_features(trunks, train, device, whole, workers)
    on_val, seen = feature.pooled_features(trunks, val, device, whole, workers)
    assert train.labels is not None and val.labels is not None
    train_labels, val_labels = train.labels[trained], val.labels[seen]
    found = [Features(a, train_labels, b, val_labels) for a, b in zip(on_train, on_val, strict=True)]
    if learned is None:
        learned = found[1]
        feature.save(kept, learned, origin)
    took = time.monotonic() - began
    baseline = _score(chance(val_labels), val.classes)
    # linear.json comes last: it says that the evaluation is whole.
    for name, row in (("random_init", found[0]), ("linear", learned)):
        start = time.monotonic()
        probe = linear_probe(row, config.seed, device)
        facts = {
            "checkpoint": path.name,
            "step": step if name == "linear" else 0,
            "run": run_id(config),
            **asdict(_score(probe.result, val.classes)),
            "chance": asdict(baseline),
            "settings": _settings(config, probe, len(trained), len(seen), whole),
            "feature_seconds": round(took, 2),
            "probe_seconds": round(time.monotonic() - start, 2),
        }
        files.write(evaluation_folder(run_dir) / f"{name}.json", json.dumps(facts, indent=1) + "\n")
    done = _known(run, path.name)
    assert done is not None
    log.info("linear probe: mAP %.1f; untrained trunk %.1f", done.linear.mAP, done.random_init.mAP)
    return done


def _placed(model: SwAV, device: torch.device) -> SwAV:
    model.to(device, torch.float32)
    model.trunk.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return model.eval()


def _open(config: Config) -> tuple[ImageSet, ImageSet]:
    train, val = open_labelled(config.data)
    if not len(val):
        raise DataError(f"data={config.data.name} has no validation images to evaluate on")
    return train, val


def _score(result: AveragePrecision, classes: tuple[str, ...]) -> Score:
    points = [round(100 * float(value), 4) for value in result.per_class]
    empty = [classes[c] for c in result.empty]
    return Score(round(100 * result.mean, 4), dict(zip(classes, points, strict=True)), empty)


def _settings(config: Config, probe: Probe, train: int, val: int, whole: bool) -> dict[str, Any]:
    return {
        "protocol": PROTOCOL,
        "version": VERSION,
        "data": config.data.name,
        "train_images": train,
        "val_images": val,
        "view": "whole image" if whole else f"resize {feature.RESIZE}, centre crop {feature.CROP}",
        "seed": config.seed,
        "l2": probe.l2,
        "l2_tried": list(STRENGTHS),
        "held_out": HELD_OUT,
        "held_out_mAP": {f"{l2:g}": round(100 * value, 4) for l2, value in probe.held_out.items()},
    }


def _known(run: RunFolder, newest: str) -> Evaluation | None:
    """The evaluation of checkpoint `newest`, if both files hold it, measured the way this version does."""
    folder = evaluation_folder(run.path)
    linear, untrained = read_json(folder / "linear.json"), read_json(folder / "random_init.json")
    try:
        for facts in (linear, untrained):
            if facts["checkpoint"] != newest or facts["settings"]["version"] != VERSION:
                return None
        return Evaluation(newest, _read(linear), _read(untrained), _read(linear["chance"]))
    except (KeyError, TypeError):
        return None


def _read(facts: dict[str, Any]) -> Score:
    return Score(facts["mAP"], facts["per_class"], facts["classes_without_positives"])
