"""What every process that computes goes through once before it joins the others: settings, weights, data, world."""

from __future__ import annotations

import logging
import math
import os
from pathlib import Path

import torch

from golang.config import Config, recipe
from golang.config.checks import TRANSFER, check, check_world
from golang.data.loader import SHM, shared_memory
from golang.data.objects.sets import look
from golang.data.sets import check_root, open_labelled
from golang.runfolder.evaluations import data_of
from golang.settled import identified, settled
from golang.world import World

log = logging.getLogger(__name__)
FEW = 16  # images a GPU, and fewer


def prepare(config: Config, world: World, run_dir: Path | None = None) -> Config:
    """The settings as the run in `run_dir` has them or begins with, checked, after a glance at the folders of all
    images that training and evaluations will read: a long training must not end at an evaluation that finds none.

    Raises a GolangError for anything a person has to mend; nothing has been written then.
    """
    check(config)
    gpus = config.device != "cpu" and torch.cuda.is_available()
    config = identified(config) if run_dir is None else settled(config, run_dir, world.size, gpus)
    if config.recipe.left:
        check(config)  # with what was chosen
    if config.evaluation.checkpoint is None:
        check_world(config, world.size)
        check_root(config.data)
        measured = [data_of(config, name) for name in config.evaluation.protocol]
        for name, data in zip(config.evaluation.protocol, measured, strict=True):
            if name in TRANSFER:
                look(data, maps=name.startswith("segment"))
        for data in dict.fromkeys([*measured, *([config.data] if config.evaluation.probe_every_epochs else [])]):
            check_root(data, ("train", "val"))
            if data.name in ("coco", "list"):
                open_labelled(data)  # whose files alone tell whether there are labels
    else:
        check_root(config.data, ("train", "val"))
    return config


def advise(config: Config, world: World, device: torch.device) -> None:
    """Says on rank 0 what will keep steps waiting, and on each node where shared memory is short or GPUs are idle, and
    what helps."""
    if not world.local_rank:
        _advise_of_shared_memory(config, world)
        _advise_of_idle_gpus(world, device)
    if world.rank:
        return
    for line in recipe.lines(config):
        log.info("%s", line)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    ranks = 1 if world.launcher == "slurm" else world.local_size  # Slurm gives each task cores of its own
    wanted = ranks * (config.data.workers + 1)
    # On processors that train, loaders take turns with them, and only more loaders than processors are too many.
    takes_turns = device.type == "cpu" and world.launcher != "slurm"
    if cores < (ranks * config.data.workers if takes_turns else wanted):
        log.warning(
            "%d cores for %d processes, data.workers=%d loader processes a rank included: steps may wait for images. "
            "%s, data.workers=%d asks for fewer", cores, wanted, config.data.workers,
            f"cluster.cpus_per_task={wanted} gives a core to each" if world.launcher == "slurm" else "With these cores",
            max(1, cores // ranks - 1),
        )  # fmt: skip
    images = config.optim.batch_size // (world.size * config.optim.accumulate)
    launched_singly = device.type == "cuda" and not config.cuda_graphs and config.evaluation.checkpoint is None
    if launched_singly and world.size > 1 and images <= FEW:
        log.info(
            "optim.batch_size=%d over %d GPUs is %d images each at a time. A step launches as many kernels for so few "
            "as for 64, so a fast GPU waits for the processor; cuda_graphs=true launches them together, and "
            "optim.batch_size=%d (another run) or fewer GPUs use them better",
            config.optim.batch_size, world.size, images, 64 * world.size,
        )  # fmt: skip


def _advise_of_shared_memory(config: Config, world: World) -> None:
    if config.evaluation.checkpoint is not None or not SHM.is_dir():
        return
    images = config.optim.batch_size // world.size
    needed, least = (
        world.local_size * shared_memory(config.augment, images, workers) for workers in (config.data.workers, 1)
    )
    room = os.statvfs(SHM)
    free = room.f_bavail * room.f_frsize
    if free < needed:
        log.warning(
            "%s has %.0f MB free, and the batches of data.workers=%d fill up to %.0f MB of it on this machine: the run "
            "ends once it is full. Ask for that much (docker run --shm-size=%.0fm, or --ipc=host); data.workers=1 "
            "fills %.0f MB, data.workers=0 none", SHM, free / 1e6, config.data.workers, needed / 1e6,
            math.ceil(needed / 2**20 / 64 + 1) * 64, least / 1e6,
        )  # fmt: skip


def _advise_of_idle_gpus(world: World, device: torch.device) -> None:
    """Of GPUs that a job has, by way of a site's or a shell's options too, and that no rank uses."""
    seen = torch.cuda.device_count() if device.type == "cuda" and world.launcher in ("slurm", "submitit") else 0
    if seen > world.local_size:
        log.warning(
            "of the %d GPUs that are visible here, tasks use %d, one each: cluster.gpus_per_node=%d uses all, or ask "
            "for fewer", seen, world.local_size, seen,
        )  # fmt: skip
