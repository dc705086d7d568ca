"""The linear probe of a run: its trunk beside an untrained one and chance, as JSON in the run's folder."""

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
from golang.data.sets import open_labelled
from golang.engine.rank import pick_device
from golang.errors import CheckpointError, DataError
from golang.evaluation import features as feature
from golang.evaluation import result
from golang.evaluation.average_precision import AveragePrecision
from golang.evaluation.features import Features
from golang.evaluation.probe.regression import HELD_OUT, STRENGTHS, Probe, chance, linear_probe
from golang.evaluation.result import Scored
from golang.method.model import SwAV, build_model
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
    """One row of a result, in points: 100 × average precision."""

    mAP: float  # noqa: N815 - what everyone calls it
    per_class: dict[str, float]
    classes_without_positives: list[str]  # which count 0

    @classmethod
    def of(cls, found: AveragePrecision, classes: tuple[str, ...]) -> Score:
        return cls(round(100 * found.mean, 4), **found.by_class(classes))

    @classmethod
    def read(cls, facts: dict[str, Any]) -> Score:
        return cls(facts["mAP"], facts["per_class"], facts["classes_without_positives"])


@dataclass(frozen=True)
class ProbeResult:
    """What `probe_run` found, or had found before."""

    checkpoint: str
    linear: Score  # the run's trunk
    random_init: Score  # the same trunk before its first step
    chance: Score


def load_model(run: RunFolder, device: torch.device) -> tuple[SwAV, Path, int]:
    """The network of the run's newest whole checkpoint, its file, and the steps it has done. Raises CheckpointError
    when there is none."""
    path = latest(run)
    if path is None:
        raise CheckpointError(f"{run.path} has no checkpoint to evaluate; train it first")
    state = sealed.read(path)
    model = build_model(run.config())
    model.load_state_dict(state["model"])
    return _placed(model, device), path, int(state["step"])


def probe_run(run: RunFolder) -> ProbeResult:
    """Probes the run's newest checkpoint and an untrained trunk of the same seed, and writes what each gets. What has
    been measured for that checkpoint is reused.

    Raises CheckpointError without a checkpoint, DataError for images without labels.
    """
    config = run.config()
    began = time.monotonic()
    device = pick_device(config.device)
    model, path, step = load_model(run, device)
    known = _known(run, path.name)
    if known is not None:
        return known
    train, val = open_labelled(config.data)
    if not len(val):
        raise DataError(f"data={config.data.name} has no validation images to evaluate on")
    log.info("evaluating %s: features of %d + %d images", path.name, len(train), len(val))
    origin = f"{run_id(config)} {path.name}"
    learned = feature.load(run.features_file, origin)
    trunks = [_placed(build_model(config), device).trunk, *([] if learned else [model.trunk])]
    untrained, *fresh = feature.labelled_features(trunks, train, val, config.data, device)
    if learned is None:
        (learned,) = fresh
        feature.save(run.features_file, learned, origin)
    took = time.monotonic() - began
    baseline = Score.of(chance(untrained.val_labels), val.classes)
    # The run's own comes last: it says that the result is whole.
    for file, row, steps in ((run.untrained_file, untrained, 0), (run.probe_file, learned, step)):
        start = time.monotonic()
        probe = linear_probe(row, config.seed, device)
        facts = {
            "checkpoint": path.name, "step": steps, "run": run_id(config),
            **asdict(Score.of(probe.result, val.classes)),
            **result.figures(
                Scored.of(probe.train_logits, row.train_labels), Scored.of(probe.val_logits, row.val_labels),
                val.classes,
            ),
            "chance": asdict(baseline),
            "settings": _settings(config, probe, untrained),
            "feature_seconds": round(took, 2), "probe_seconds": round(time.monotonic() - start, 2),
        }  # fmt: skip
        files.write(file, json.dumps(facts, indent=1) + "\n")
    done = _known(run, path.name)
    assert done is not None
    log.info("linear probe: mAP %.1f; untrained trunk %.1f", done.linear.mAP, done.random_init.mAP)
    return done


def _placed(model: SwAV, device: torch.device) -> SwAV:
    model.to(device, torch.float32)
    model.trunk.to(memory_format=torch.channels_last)
    return model.eval()


def _settings(config: Config, probe: Probe, seen: Features) -> dict[str, Any]:
    whole = feature.takes_whole(config.data)
    return {
        "protocol": PROTOCOL, "version": VERSION,
        "data": config.data.name, "train_images": len(seen.train), "val_images": len(seen.val),
        "view": "whole image" if whole else f"resize {feature.RESIZE}, centre crop {feature.CROP}",
        "seed": config.seed, "l2": probe.l2, "l2_tried": list(STRENGTHS), "held_out": HELD_OUT,
        "held_out_mAP": {f"{l2:g}": round(100 * value, 4) for l2, value in probe.held_out.items()},
    }  # fmt: skip


def _known(run: RunFolder, newest: str) -> ProbeResult | None:
    """The result of checkpoint `newest`, if both files hold it, measured the way this version does."""
    linear, untrained = found = [read_json(file) for file in (run.probe_file, run.untrained_file)]
    try:
        if any(facts["checkpoint"] != newest or facts["settings"]["version"] != VERSION for facts in found):
            return None
        return ProbeResult(newest, Score.read(linear), Score.read(untrained), Score.read(linear["chance"]))
    except (KeyError, TypeError):
        return None
