"""Which evaluations settings ask for, each as the settings of a run of its own, and where their results lie.

The published protocols are measured on their own sets, DATA. ON_ANY_SET are measured on the set of `data`, whichever it
is, and so is `knn`, but for what it has always been measured on: COCO 2014, where the settings train on
COCO, on a folder without labels, or name `evaluation.root`.
"""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from golang.config import Config, Data, Evaluation, Part
from golang.config.checks import ALIKE, NUMBERS, ON_ANY_OBJECTS, ON_ANY_SET, TRANSFER
from golang.config.identity import run_id, set_digits
from golang.config.labels import has_labels, has_objects, lacking, lacking_objects
from golang.errors import ConfigError
from golang.runfolder import files
from golang.runfolder.checkpoints import entries
from golang.runfolder.folder import RunFolder

# What each is measured on but for ON_ANY_SET; nearest neighbours on what linear_coco is, unless `data` says otherwise.
DATA: dict[Any, Any] = {
    "linear_coco": "coco2014", "linear_voc": "voc2007", "semisup_coco_1": "coco2014", "semisup_coco_10": "coco2014",
    "knn": "coco2014", "detect_coco": "coco2017", "detect_voc": "voc0712", "segment_voc": "voc_sbd",
}  # fmt: skip
_COCO = ("coco2014", "coco2017", "folder", "toy")  # where `data` is one of these, knn is measured on COCO 2014


def data_of(config: Config, name: str) -> Data:
    """The images that evaluation `name` is measured on. The set of `data`, or another of its kind at evaluation.root;
    or a published protocol's own, below evaluation.root or, where the run trains on the same or on another COCO, or on
    nothing, below data.root. The generated set stands in for any.

    Raises ConfigError when nobody says where they are, and for a set of `data` without labels.
    """
    evaluation, data = config.evaluation, config.data
    if data.name == "toy":
        return data
    if name in ON_ANY_SET or (name == "knn" and evaluation.root is None and data.name not in _COCO):
        if evaluation.root is not None:
            data = replace(data, root=evaluation.root, train=Part(), val=Part())
        if name in TRANSFER and not has_objects(data):
            raise ConfigError(f"evaluation={name} needs boxes or masks: {lacking_objects(data)}")
        if not has_labels(data):
            raise ConfigError(f"evaluation={name} needs labels: {lacking(data)}")
        return data
    ours = data.name in ("coco", "list")  # whose data.root holds no other set
    near = (evaluation.checkpoint is not None and not ours) or DATA[name][:-4] == data.name[:-4]
    root = evaluation.root or (data.root if near else None)
    if root is None:
        raise ConfigError(
            f"evaluation={name} is measured on {DATA[name]}, and "
            + ("nobody says where that is" if near else f"data={data.name} is another set")
            + "; set evaluation.root=FOLDER to the folder that holds it"
        )
    stage = data.stage if root == data.root else None  # what is staged is the pack at data.root
    return Data(name=DATA[name], root=root, workers=data.workers, stage=stage, keep_staged=data.keep_staged)


def of_checkpoint(config: Config) -> list[Config]:
    """An evaluation of `evaluation.checkpoint` for each protocol asked for. Raises ConfigError as `data_of`."""
    return _each(config, config.evaluation)


def of_run(config: Config, folder: Path) -> list[Config]:
    """The same of the end of this run, which lives in `folder`."""
    return _each(config, replace(config.evaluation, checkpoint=str(folder.absolute()), run=run_id(config)))


def _each(config: Config, asked: Evaluation) -> list[Config]:
    return [
        replace(config, data=data_of(config, name), evaluation=replace(asked, protocol=(name,), **_not_of(name)))
        for name in asked.protocol
    ]


def _not_of(name: str) -> dict[str, Any]:
    """The numbers that are other evaluations', as if they had not been set."""
    others = [number for number, whose in NUMBERS.items() if name not in whose]
    others += ["objects_sha256"] if name not in ON_ANY_OBJECTS else []
    others += ["published"] if name in ALIKE else []
    return {number: getattr(Evaluation(), number) for number in others}


def unprobed(config: Config, folder: Path) -> bool:
    """Whether a finished training lacks the quick probe that its settings ask for: it was interrupted in it."""
    asked = config.evaluation.probe and config.evaluation.checkpoint is None and has_labels(config.data)
    return asked and not RunFolder(folder).probe_file.exists()


def leave_unprobed(folder: Path, why: str) -> None:
    """Marks a finished training as one that has nothing to be probed on, which only its images could tell."""
    run = RunFolder(folder)
    files.make_private(run.evaluation)
    files.write(run.probe_file, json.dumps({"unlabelled": why}) + "\n")


def results_of(config: Config, run_dir: Path) -> Path:
    """Where the result of an evaluation lies that lives in `run_dir`: with the run it measures, if it is of one. Of a
    checkpoint other than the last, the folder's name tells which."""
    run, file = RunFolder(measured(config, run_dir)), Path(config.evaluation.checkpoint or "")
    early = file.parent == run.checkpoints and not (
        run.done and file.name == max(entry.path.name for entry in entries(run))
    )
    return run.evaluation / (f"{result_name(config)}-{file.stem}" if early else result_name(config))


def measured(config: Config, run_dir: Path) -> Path:
    """The run that an evaluation measures, if it is one of ours to write to, or the evaluation's own, `run_dir`."""
    file = Path(config.evaluation.checkpoint or "")
    if config.evaluation.run:
        return file
    parent = RunFolder(file.parent.parent)
    ours = file.parent == parent.checkpoints and parent.config_file.is_file() and os.access(parent.path, os.W_OK)
    return parent.path if ours else run_dir


def result_name(config: Config) -> str:
    """The folder's name of an evaluation among others of the same weights: on the set of `data` with the set's, digits
    of what tells it from others of that name, and the numbers that are not the protocol's own."""
    evaluation, data = config.evaluation, config.data
    (name,) = evaluation.protocol
    parts: list[str] = [name]
    if name in ON_ANY_SET or (name == "knn" and data.name not in _COCO):
        parts += filter(None, [data.name, set_digits(data), evaluation.objects_sha256[:8]])
    changed = {number: getattr(evaluation, number) for number in NUMBERS}
    parts += [f"{key}={_plain(value)}" for key, value in changed.items() if value != getattr(Evaluation(), key)]
    return "-".join([*parts, *(["published"] if evaluation.published else [])])


def _plain(value: bool | float) -> str:
    return str(value).lower() if isinstance(value, bool) else f"{value:g}"
