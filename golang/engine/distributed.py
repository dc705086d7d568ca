"""The process groups of the ranks: joining and leaving them, DDP, and a group apart for decisions."""

from __future__ import annotations

import contextlib
import inspect
import itertools
import json
import os
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed import distributed_c10d
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous
from torch.nn.parallel import DistributedDataParallel

from golang.errors import FirstRankError, GolangError, PeerLostError
from golang.world import World

T = TypeVar("T")
PATIENCE = timedelta(minutes=30)  # how long a collective waits for a slow peer
# What gloo and NCCL say when the process at the other end no longer answers.
LOST = (
    "onnection closed by peer", "onnection reset by peer", "remote process exited", "Broken pipe", "ncclRemoteError",
)  # fmt: skip
_stores: dict[str, Store] = {}  # by address
_joined = itertools.count()


def connect(world: World, device: torch.device) -> None:
    """Joins the process group: NCCL for CUDA, gloo for CPU. One rank alone needs none. Ranks that have left may join
    again: in the same store, which torchrun's agent may hold, under a name that no group before had."""
    if world.size == 1:
        return
    if world.address in ("127.0.0.1", "localhost"):
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    url = f"tcp://{world.address}:{world.port}"
    if url not in _stores:
        _stores[url], _, _ = next(rendezvous(url, world.rank, world.size, timeout=PATIENCE))
    dist.init_process_group(
        "nccl" if device.type == "cuda" else "gloo",
        store=PrefixStore(f"group{next(_joined)}", _stores[url]),
        rank=world.rank,
        world_size=world.size,
        timeout=PATIENCE,
        device_id=device if device.type == "cuda" else None,
    )


def leave(failed: bool = False) -> None:
    """Leaves the process group. NCCL's farewell waits for all ranks: one that `failed`, or whose peer did, skips it."""
    if not dist.is_initialized():
        return
    if failed and dist.get_backend() == "nccl":
        distributed_c10d._abort_process_group()  # type: ignore[no-untyped-call, unused-ignore]
    else:
        dist.destroy_process_group()


@contextlib.contextmanager
def peers(since: Callable[[], str]) -> Iterator[None]:
    """Raises PeerLostError for a collective that ended, in its transport's own words, because another rank is gone;
    `since` says since when, and how the run stands."""
    try:
        yield
    except RuntimeError as error:
        if not dist.is_initialized() or not any(word in str(error) for word in LOST):
            raise
        raise PeerLostError(f"another rank is gone since {since()}") from error


def data_parallel(model: nn.Module) -> nn.Module:
    """`model` under DDP, or itself for one rank.

    Plain DDP rebuilds its gradient buckets after the first backward pass, so a resumed run would sum its first step
    in another order than a run never stopped; with find_unused_parameters it never does. Batch-norm buffers are
    computed from all ranks' rows and need no broadcast.
    """
    if not dist.is_initialized():
        return model
    parameters = inspect.signature(DistributedDataParallel.__init__).parameters
    buffers = "forward_sync_buffers" if "forward_sync_buffers" in parameters else "broadcast_buffers"
    return DistributedDataParallel(model, find_unused_parameters=True, **{buffers: False})  # type: ignore[arg-type]


class ControlGroup:
    """A gloo group of all ranks for small CPU tensors, apart from the training traffic."""

    def __init__(self, world: World) -> None:
        self.group = dist.new_group(backend="gloo", timeout=PATIENCE) if world.size > 1 else None
        self.world = world

    def maximum(self, tensor: Tensor) -> Tensor:
        """The largest of every rank's CPU tensor, element by element, in place."""
        if (work := self.start_maximum(tensor)) is not None:
            work.wait()
        return tensor

    def start_maximum(self, tensor: Tensor) -> dist.Work | None:
        """Starts what `maximum` does; wait on what it returns."""
        if self.group is None:
            return None
        work: dist.Work = dist.all_reduce(tensor, dist.ReduceOp.MAX, group=self.group, async_op=True)
        return work

    def mean(self, tensor: Tensor) -> Tensor:
        """The mean of every rank's CPU tensor."""
        if self.group is not None:
            dist.all_reduce(tensor, group=self.group)
            tensor /= self.world.size
        return tensor

    def gather(self, tensor: Tensor) -> tuple[Tensor, dist.Work | None]:
        """Starts gathering every rank's CPU tensor [...] → [W, ...]; complete once the work has been waited for."""
        if self.group is None:
            return tensor[None], None
        whole = tensor.new_empty(self.world.size, *tensor.shape)
        return whole, dist.all_gather(list(whole.unbind()), tensor.contiguous(), group=self.group, async_op=True)

    def broadcast(self, text: str) -> str:
        """Rank 0's text, on every rank."""
        if self.group is None:
            return text
        data = torch.tensor(list(text.encode()), dtype=torch.uint8)
        size = torch.tensor([len(data)])
        dist.broadcast(size, 0, group=self.group)
        data.resize_(int(size))
        dist.broadcast(data, 0, group=self.group)
        return bytes(data.tolist()).decode()

    def barrier(self) -> None:
        if self.group is not None:
            dist.barrier(group=self.group)

    def on_first_rank(self, act: Callable[[], T]) -> T | None:
        """What `act` gives on rank 0; None on the others, which wait. Its error is everyone's."""
        failure: GolangError | None = None
        done: T | None = None
        if self.world.rank == 0:
            try:
                done = act()
            except GolangError as error:
                failure = error
        failed = self.broadcast(json.dumps([str(failure), failure.exit_status] if failure else None))
        if failure is not None:
            raise failure
        if (said := json.loads(failed)) is not None:
            raise FirstRankError(*said)
        return done
