"""What a checkpoint holds, and how it becomes a run again, on the same number of ranks or another."""

from __future__ import annotations

import logging
import time
from typing import Any

import torch
from torch import Tensor

from golang.collectives import rank, world_size
from golang.config import NUM_LARGE, Config
from golang.config.checks import local_queue_length, local_views, queue_length
from golang.config.identity import run_id
from golang.engine.determinism import versions
from golang.engine.distributed import ControlGroup
from golang.engine.snapshot import Snapshot
from golang.errors import CheckpointError
from golang.method.queue import EmbeddingQueue, globalise, localise
from golang.training.meters import Meter, Sentinel
from golang.training.step import TrainStep

log = logging.getLogger(__name__)
FORMAT = 1
POLL = 0.02  # seconds between looks at a gather that may never end


def fingerprint(config: Config, images: int) -> dict[str, Any]:
    """What a checkpoint must agree on with the run that loads it."""
    return {"format": FORMAT, "run": run_id(config), "images": images}


def rank_state(step: TrainStep, meter: Meter, sentinel: Sentinel) -> dict[str, Tensor]:
    """This rank's own part of a run, as CPU tensors whose shapes are equal on all ranks. Waits for the device, once:
    the ranks agree on these numbers on the host, and nothing is saved after a NaN."""
    parts = {
        "meter": meter.sums,
        "non_finite": sentinel.first,
        "skipped": sentinel.skipped,
        "rng": torch.get_rng_state(),
    }
    if step.device.type == "cuda":
        parts["rng_cuda"] = torch.cuda.get_rng_state(step.device)
    parts |= {name: queue.rows for name, queue in step.queues.items() if queue is not None}
    copied: dict[str, Tensor] = Snapshot(parts).read()
    return copied


def gather(parts: dict[str, Tensor], control: ControlGroup, deadline: float) -> dict[str, Tensor] | None:
    """Every rank's parts [...] as [W, ...], in one collective; None if it can't be had by `deadline` (monotonic)."""
    flat = torch.cat([part.contiguous().view(-1).view(torch.uint8) for part in parts.values()])
    try:
        whole, work = control.gather(flat)
        while work is not None and not work.is_completed():
            if time.monotonic() > deadline:
                return None
            time.sleep(POLL)
        if work is not None:
            work.wait()
    except RuntimeError as error:
        log.warning("a peer is gone: %s", str(error).splitlines()[0])
        return None
    sizes = [part.numel() * part.element_size() for part in parts.values()]
    pieces = whole.split(sizes, dim=1)
    # Copied: a view as wider numbers needs parts that start at a multiple of their size.
    return {
        name: piece.clone(memory_format=torch.contiguous_format).view(part.dtype).view(-1, *part.shape)
        for (name, part), piece in zip(parts.items(), pieces, strict=True)
    }


def pack(step: TrainStep, iteration: int, gathered: dict[str, Tensor], images: int) -> dict[str, Any]:
    """The whole run after `iteration` steps, on rank 0. Cursor, freeze and schedule are functions of the iteration."""
    queues = {
        name: {"rows": globalise(gathered[name], rows // world_size()), "filled": queue.filled * world_size()}
        for (name, queue), rows in zip(step.queues.items(), rows_a_step(step.config), strict=True)
        if queue is not None
    }
    return {
        "fingerprint": fingerprint(step.config, images),
        "config": step.config.to_dict(),
        "versions": versions(step.device),
        "step": iteration,
        "model": step.model.state_dict(),
        "optimizer": step.optimizer.state_dict(),
        "scaler": step.scaler.state_dict(),
        "ranks": {name: value for name, value in gathered.items() if name not in queues},
        **queues,
    }


def size(step: TrainStep) -> int:
    """About how many bytes a checkpoint takes: weights and buffers, momentum, queues that are full."""
    config, parameters = step.config, list(step.model.parameters())
    bytes_ = sum(t.numel() * t.element_size() for t in (*step.model.state_dict().values(), *parameters))
    rows = NUM_LARGE * (queue_length(config) + local_queue_length(config))
    return int(bytes_) + rows * config.model.feature_dim * parameters[0].element_size()


def restore(state: dict[str, Any], step: TrainStep, meter: Meter, sentinel: Sentinel, images: int) -> int:
    """Puts a run back as `pack` saw it; returns the steps it had done.

    With another number of ranks the queues are cut anew and each rank goes on from the mean of the meters. Raises
    CheckpointError if the checkpoint is of another run.
    """
    want, there = fingerprint(step.config, images), state["fingerprint"]
    if there != want:
        wrong = [f"{key} {there.get(key)} instead of {want[key]}" for key in want if there.get(key) != want[key]]
        raise CheckpointError(f"the checkpoint does not fit this run: {', '.join(wrong)}; start afresh with name=OTHER")
    for key, value in versions(step.device).items():
        if (before := state["versions"].get(key)) != value:
            log.warning("%s changed from %s to %s: the run goes on, but not bit for bit", key, before, value)
    step.model.load_state_dict(state["model"])
    step.optimizer.load_state_dict(state["optimizer"])
    if step.scaler.is_enabled():
        step.scaler.load_state_dict(state["scaler"])
    rows = rows_a_step(step.config)
    step.queue = _restored_queue(state.get("queue"), rows[0], step)
    step.local_queue = _restored_queue(state.get("local_queue"), rows[1], step)
    ranks = state["ranks"]
    sentinel.skipped.copy_(ranks["skipped"][0])
    if not meter.restore(ranks["meter"], rank(), world_size()):
        log.warning("the checkpoint's version has other metrics; the next line of them covers the steps from here on")
    if len(ranks["meter"]) == world_size():
        # Cloned: torch reads from the start of a view's storage.
        torch.set_rng_state(ranks["rng"][rank()].clone())
        if step.device.type == "cuda" and "rng_cuda" in ranks:
            torch.cuda.set_rng_state(ranks["rng_cuda"][rank()].clone(), step.device)
    return int(state["step"])


def rows_a_step(config: Config) -> tuple[int, int]:
    """Rows a view that a step puts into the global and the local queue, over all ranks."""
    return config.optim.batch_size, config.optim.batch_size * local_views(config)


def _restored_queue(saved: dict[str, Any] | None, rows: int, step: TrainStep) -> EmbeddingQueue | None:
    if saved is None:
        return None
    part = localise(saved["rows"], rank(), world_size(), rows // world_size())
    queue = EmbeddingQueue(part.shape[1], part.shape[2], step.device, part.dtype)
    queue.rows.copy_(part)
    queue.filled = saved["filled"] // world_size()
    return queue
