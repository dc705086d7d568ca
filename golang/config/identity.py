"""What makes a run that run: an id of the settings that change its result, and a folder name a person can read."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from golang.config.schema import Config, Data, Evaluation

# Settings that say where and how comfortably a run happens, not what comes out of it.
OUTSIDE = (
    "sweep", "device", "deterministic", "cuda_graphs", "log_every_steps", "hang_seconds", "checkpoint", "evaluation",
    "tracking", "data.root", "data.workers", "data.train.images", "data.train.annotations",
    "data.stage", "data.keep_staged",
    "data.val",  # a training sees none of it
    "recipe",  # that a setting was left to it counts, in place of what was chosen
    "model.init",  # model.init_sha256 counts: what the file holds, wherever it lies
)  # fmt: skip
LAUNCHERS = ("cluster", "run_dir", "runs_dir", "dry_run", "code", "notify", "hydra")  # no settings of the trainer


def result_settings(config: Config) -> dict[str, Any]:
    """The settings that count, dotted, where they differ from the defaults.

    Leaving out what has its default lets a later version add a setting without changing old ids. An evaluation is its
    protocol, its images and the weights it measures.
    """
    if config.evaluation.checkpoint is not None:
        return _evaluated(config)
    defaults = flat(Config().to_dict())
    values = flat(config.to_dict()) | dict.fromkeys(config.recipe.left)
    return {key: value for key, value in sorted(values.items()) if value != defaults[key] and not _is_outside(key)}


def run_id(config: Config) -> str:
    """Eight hexadecimal digits that depend on the settings that change the result, and on nothing else."""
    return _digits(result_settings(config))


def label(overrides: Sequence[str], longest: int = 80) -> str:
    """A short, safe folder name from one run's own overrides: their last key parts and values."""
    parts = []
    for override in overrides:
        key, _, value = override.lstrip("+~").partition("=")
        path = key.split(".")
        if path[0] not in LAUNCHERS and not _is_outside(key):
            plain = value.replace("'", "").replace('"', "")
            parts.append(f"{path[-1]}={plain}")
    return folder_name(parts, longest)


def _is_outside(key: str) -> bool:
    return f"{key}.".startswith(tuple(f"{outside}." for outside in OUTSIDE))


def folder_name(parts: Sequence[str], longest: int = 80) -> str:
    """Parts as one short, safe name."""
    text = re.sub(r"[^A-Za-z0-9=.,_+-]+", "_", ",".join(parts))[:longest].strip("._,")
    return text or "base"


def _evaluated(config: Config) -> dict[str, Any]:
    evaluation, data = config.evaluation, config.data
    settings = {
        "name": "" if evaluation.run else config.name,
        "precision": config.precision if config.precision == "fp64" else "",  # any other is measured in fp32
        "data.name": data.name,
        **_telling(data),
        "evaluation.protocol": list(evaluation.protocol),
        "evaluation.epochs": evaluation.epochs,
        "evaluation.batch_size": evaluation.batch_size,
        "evaluation.lr": evaluation.lr,
        "evaluation.share": evaluation.share if evaluation.share != Evaluation().share else None,
        "evaluation.published": evaluation.published,
        "evaluation.frozen": evaluation.frozen,
        "evaluation.objects_sha256": evaluation.objects_sha256,
        "evaluation.checkpoint_sha256": evaluation.checkpoint_sha256,
        "evaluation.run": evaluation.run,
    }
    return {key: value for key, value in settings.items() if value}


def _telling(data: Data) -> dict[str, Any]:
    """What tells a set from others of its name."""
    return {
        "data.toy": asdict(data.toy) if data.name == "toy" else {},
        "data.train.fingerprint": data.train.fingerprint,
        "data.val.fingerprint": data.val.fingerprint,
    }


def set_digits(data: Data) -> str:
    """Eight hexadecimal digits that depend on the images of a set whose name alone does not tell which it is; "" for
    any other."""
    facts = {key: value for key, value in _telling(data).items() if value}
    return _digits(facts) if facts else ""


def _digits(facts: dict[str, Any]) -> str:
    text = json.dumps(facts, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by their dotted names."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return found
