"""What every process that computes goes through once before it joins the others: settings, weights, data, world."""

from __future__ import annotations

from golang.config import Config
from golang.config.checks import check, check_world
from golang.data.sets import check_root
from golang.runfolder.evaluations import data_of
from golang.runfolder.pinned import pinned
from golang.world import World


def prepare(config: Config, world: World) -> Config:
    """The settings, checked and pinned, after a glance at the folders of all images that training and evaluations will
    read: a long training must not end at an evaluation that finds none.

    Raises a GolangError for anything a person has to mend; nothing has been written then.
    """
    check(config)
    config = pinned(config)
    if config.evaluation.checkpoint is None:
        check_world(config, world.size)
        check_root(config.data)
        for name in config.evaluation.protocol:
            check_root(data_of(config, name), ("train", "val"))
    else:
        check_root(config.data, ("train", "val"))
    return config
