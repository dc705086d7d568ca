"""Which evaluations settings ask for, each as the settings of a run of its own, and where their results lie."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from golang.config import Config, Data, Evaluation
from golang.config.identity import run_id
from golang.errors import ConfigError
from golang.runfolder.checkpoints import entries
from golang.runfolder.folder import RunFolder

# What each is measured on; nearest neighbours on what linear_coco is.
DATA: dict[Any, Any] = {
    "linear_coco": "coco2014", "linear_voc": "voc2007", "semisup_coco_1": "coco2014", "semisup_coco_10": "coco2014",
    "knn": "coco2014",
}  # fmt: skip


def data_of(config: Config, name: str) -> Data:
    """The images that evaluation `name` is measured on: its own set, below evaluation.root or, where the run trains on
    the same or on another COCO, or on nothing, below data.root. The generated set stands in for any.

    Raises ConfigError when nobody says where they are.
    """
    evaluation = config.evaluation
    if config.data.name == "toy":
        return config.data
    near = evaluation.checkpoint is not None or DATA[name][:4] == config.data.name[:4]
    root = evaluation.root or (config.data.root if near else None)
    if root is None:
        raise ConfigError(
            f"evaluation={name} is measured on {DATA[name]}, and "
            + ("nobody says where that is" if near else f"data={config.data.name} is another set")
            + "; set evaluation.root=FOLDER to the folder that holds it"
        )
    return Data(name=DATA[name], root=root, workers=config.data.workers)


def of_checkpoint(config: Config) -> list[Config]:
    """An evaluation of `evaluation.checkpoint` for each protocol asked for. Raises ConfigError as `data_of`."""
    return _each(config, config.evaluation)


def of_run(config: Config, folder: Path) -> list[Config]:
    """The same of the end of this run, which lives in `folder`."""
    return _each(config, replace(config.evaluation, checkpoint=str(folder.absolute()), run=run_id(config)))


def _each(config: Config, asked: Evaluation) -> list[Config]:
    return [
        replace(config, data=data_of(config, name), evaluation=replace(asked, protocol=(name,)))
        for name in asked.protocol
    ]


def unprobed(config: Config, folder: Path) -> bool:
    """Whether a finished training lacks the quick probe that its settings ask for: it was interrupted in it."""
    asked = config.evaluation.probe and config.evaluation.checkpoint is None and config.data.name != "folder"
    return asked and not RunFolder(folder).probe_file.exists()


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
    """The folder's name of an evaluation among others of the same weights."""
    (name,) = config.evaluation.protocol
    return f"{name}-published" if config.evaluation.published else name
