"""What makes a training of the docs one of seconds: settings that are added behind those that are typed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

# Added to each training here. What is typed is read and composed before it, and these win.
ALWAYS = {
    "optim.epochs": 1, "optim.batch_size": 8, "model.hidden_dim": 32, "model.feature_dim": 16,
    "model.prototypes": 12, "model.local_prototypes": 14, "augment.large_size": 32, "augment.small_size": 16,
    "log_every_steps": 1, "device": "cpu", "precision": "fp32", "data.workers": 0, "data.toy.classes": 5,
    "data.toy.size": 32, "data.toy.train": 24, "data.toy.val": 16,
}  # fmt: skip
UNTYPED = {"model.trunk": "small", "tracking.name": "none"}  # where nothing typed says otherwise
OTHERS = "resnet18"  # the trunk for one's own images: other libraries know it
OF_EVALUATIONS = {"device": "cpu", "data.workers": 0}
_TAUGHT = re.compile(r"\b(linear|semisup|detect|segment)\b")  # evaluations on any set that take epochs
_ASKED = ("--cfg", "-c", "--help", "-h", "--hydra-help", "--version", "-sc", "--shell-completion")


def training(typed: list[str]) -> list[str]:
    """The words of `python run.py` or `golang train`, with those that make it small; what goes to a cluster is only
    shown."""
    keys = {word.partition("=")[0] for word in typed}
    if keys.intersection(_ASKED):
        return typed
    if {"cluster=slurm", "cluster=local"}.intersection(typed):
        return [*typed, "dry_run=true"]
    if keys & {"checkpoint", "evaluation.checkpoint"}:
        return [*typed, *_words(OF_EVALUATIONS | _epochs(typed))]
    free = {key: value for key, value in UNTYPED.items() if not keys & {key, key.partition(".")[0]}}
    if "model.trunk" in free and "data" in keys:
        free["model.trunk"] = OTHERS
    return [*typed, *_words(free | ALWAYS | _epochs(typed))]


def _epochs(typed: list[str]) -> dict[str, int]:
    asked = any(word.startswith("evaluation=") and _TAUGHT.search(word) for word in typed)
    return {"evaluation.epochs": 1} if asked else {}


def module(name: str, typed: list[str]) -> list[str]:
    """The words of `python -m NAME`. Benchmarks and the tests' tools take minutes: they say how they are used."""
    if name.partition(".")[0] in ("benchmarks", "tests"):
        return [*typed, "--help"]
    if name == "golang.evaluation" and len(typed) > 1 and typed[0] != "table":
        return [*typed, "--device", "cpu", "--workers", "0", *(["--epochs", "1"] if _TAUGHT.search(typed[0]) else [])]
    if name == "golang.memory":
        return [*typed, "model.trunk=small", "optim.batch_size=8"]
    if name == "golang.data" and typed and typed[0] == "check":
        return [*typed, "--workers", "1"]
    return typed


def library() -> None:
    """Has this process's `Config.from_dict` and `Config.own` make small trainings."""
    from golang.config import Config

    read = Config.from_dict.__func__  # type: ignore[attr-defined]

    def small(cls: type[Config], values: Mapping[str, Any]) -> Config:
        return read(cls, _merged(values, UNTYPED | ALWAYS))  # type: ignore[no-any-return]

    Config.from_dict = classmethod(small)  # type: ignore[assignment, method-assign]


def _words(settings: Mapping[str, object]) -> list[str]:
    return [f"{key}={value}" for key, value in settings.items()]


def _merged(values: Mapping[str, Any], settings: Mapping[str, object]) -> dict[str, Any]:
    found = {key: dict(value) if isinstance(value, Mapping) else value for key, value in values.items()}
    for key, value in settings.items():
        *groups, name = key.split(".")
        place = found
        for group in groups:
            place = place.setdefault(group, {})
        place[name] = value
    return found
