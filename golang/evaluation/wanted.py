"""Which evaluations settings ask for, each as the settings of a run of its own; nothing here waits for torch."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from golang.config import Config, Data
from golang.errors import ConfigError
from golang.identity import run_id

# What each is measured on; nearest neighbours on what linear_coco is.
DATA: dict[Any, Any] = {
    "linear_coco": "coco2014",
    "linear_voc": "voc2007",
    "semisup_coco_1": "coco2014",
    "semisup_coco_10": "coco2014",
    "knn": "coco2014",
}


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
    return [
        replace(config, data=data_of(config, name), evaluation=replace(config.evaluation, protocol=(name,)))
        for name in config.evaluation.protocol
    ]


def of_run(config: Config, folder: Path) -> list[Config]:
    """An evaluation of the end of this run, which lives in `folder`, for each protocol asked for. Raises ConfigError
    as `data_of`."""
    return [
        replace(
            config,
            data=data_of(config, name),
            evaluation=replace(
                config.evaluation, protocol=(name,), checkpoint=str(folder.absolute()), run=run_id(config)
            ),
        )
        for name in config.evaluation.protocol
    ]


def results_of(config: Config, run_dir: Path) -> Path:
    """Where the result of an evaluation lies that lives in `run_dir`: with the run it measures, if it is of one."""
    evaluation = config.evaluation
    whose = Path(evaluation.checkpoint) if evaluation.run and evaluation.checkpoint else run_dir
    return whose / "evaluation" / place(config)


def place(config: Config) -> str:
    """The folder's name of an evaluation among others of the same weights."""
    (name,) = config.evaluation.protocol
    return f"{name}-published" if config.evaluation.published else name
