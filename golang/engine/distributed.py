"""The process groups of the ranks: joining and leaving them, DDP, and a group apart for decisions."""

from __future__ import annotations

import contextlib
import inspect
import itertools
import json
import os
import threading
import warnings
import weakref
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous
from torch.nn.parallel import DistributedDataParallel

from golang.errors import FirstRankError, GolangError, PeerLostError
from golang.world import World, interfaces, local_address, loopback

T = TypeVar("T")
# How long a collective waits for a slow peer: longer than a job is suspended, as the transports' clocks go on then and
# the watchdog's, which has the last word, does not. poll() takes 24 days at most.
PATIENCE = timedelta(days=7)
ABORT = 10.0  # seconds in which communicators are aborted
# What gloo and NCCL say when the process at the other end no longer answers.
LOST = (
    "onnection closed by peer", "onnection reset by peer", "remote process exited", "Broken pipe", "ncclRemoteError",
)  # fmt: skip
_stores: dict[str, Store] = {}  # by address
_joined = itertools.count()
_groups: list[dist.ProcessGroup] = []  # beside the first
_graphs: weakref.WeakSet[torch.cuda.CUDAGraph] = weakref.WeakSet()


def connect(world: World, device: torch.device) -> None:
    """Joins the process group: NCCL for CUDA, gloo for CPU. One rank alone needs none. Ranks that have left may join
    again: in the same store, which torchrun's agent may hold, under a name that no group before had."""
    if world.size == 1:
        return
    place = f"[{world.address}]" if ":" in world.address else world.address  # an IPv6 address
    url = f"tcp://{place}:{world.port}"
    if url not in _stores and world.listening >= 0:
        _stores[url] = dist.TCPStore(  # type: ignore[attr-defined]
            world.address, world.port, world.size, True, timeout=PATIENCE, master_listen_fd=world.listening
        )
    elif url not in _stores:
        _stores[url], _, _ = next(rendezvous(url, world.rank, world.size, timeout=PATIENCE))
    store = PrefixStore(f"group{next(_joined)}", _stores[url])
    _set_up_transports(world, store)
    dist.init_process_group(
        "nccl" if device.type == "cuda" else "gloo",
        store=store,
        rank=world.rank,
        world_size=world.size,
        timeout=PATIENCE,
        device_id=device if device.type == "cuda" else None,
    )


def _set_up_transports(world: World, store: Store) -> None:
    """Before any group is there: gloo takes the network that leads to rank 0, and torch's monitor of NCCL leaves the
    last word to the watchdog. Whoever has set their variables keeps them.

    By itself gloo takes the address of this machine's name, which Debian makes 127.0.1.1: no other node reaches that.
    Ranks that see rank 0 on their own machine take the network that leads to a rank elsewhere.
    """
    os.environ.setdefault("TORCH_NCCL_HEARTBEAT_TIMEOUT_SEC", f"{PATIENCE.total_seconds():.0f}")
    address = local_address(world.address)
    if world.nodes > 1:
        store.set(f"address{world.rank}", address)
        if loopback(address):
            told = (other.decode() for other in store.multi_get([f"address{rank}" for rank in range(world.size)]))
            address = local_address(next((other for other in told if not loopback(other)), address))
    if interface := interfaces().get(address):
        os.environ.setdefault("GLOO_SOCKET_IFNAME", interface)


def new_group(backend: str | None = None) -> dist.ProcessGroup:
    """Another group of all ranks, by default with the first one's backend, that `leave` leaves too."""
    group = dist.new_group(backend=backend, timeout=PATIENCE)
    assert isinstance(group, dist.ProcessGroup)
    _groups.append(group)
    return group


def leave(failed: bool = False) -> None:
    """Leaves the process groups. NCCL's farewell waits for all ranks: one that `failed`, or whose peer did, aborts."""
    if not dist.is_initialized():
        return
    for graph in list(_graphs):
        graph.reset()
    if failed and dist.group.WORLD is not None:
        groups = [group for group in (dist.group.WORLD, *_groups) if dist.get_backend(group) == "nccl"]
        # At once: what one of them frees may wait for another's kernel.
        aborts = [threading.Thread(target=group.abort, daemon=True) for group in groups]
        for abort in aborts:
            abort.start()
        for abort in aborts:
            abort.join(ABORT)
        if any(abort.is_alive() for abort in aborts):
            return  # the end of the process ends them
    _groups.clear()
    dist.destroy_process_group()


def new_graph() -> torch.cuda.CUDAGraph:
    """An empty CUDA graph, for collectives too. NCCL neither ends nor aborts a communicator, and waits without an end,
    while a graph holds one of its collectives: `leave` empties them all before."""
    graph = torch.cuda.CUDAGraph()
    _graphs.add(graph)
    return graph


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
    computed from all ranks' rows and need no broadcast. Gradients lie in their buckets, copied there a bucket at a
    time. On GPUs the buckets have communicators of their own: in one queue the norms' sums would wait behind them.
    """
    if not dist.is_initialized():
        return model
    # The stride of a dimension of one element, as 1 × 1 convolutions have, says nothing of where the elements lie.
    warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides", category=UserWarning)
    parameters = inspect.signature(DistributedDataParallel.__init__).parameters
    buffers = "forward_sync_buffers" if "forward_sync_buffers" in parameters else "broadcast_buffers"
    options = {buffers: False} | ({"batched_grad_copy": True} if "batched_grad_copy" in parameters else {})
    group = new_group() if dist.get_backend() == "nccl" else None
    return DistributedDataParallel(
        model, process_group=group, find_unused_parameters=True, gradient_as_bucket_view=True,
        **options,  # type: ignore[arg-type]
    )  # fmt: skip


class ControlGroup:
    """A gloo group of all ranks for small CPU tensors, apart from the training traffic."""

    def __init__(self, world: World) -> None:
        self.group = new_group("gloo") if world.size > 1 else None
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
        work: dist.Work | None = dist.all_reduce(tensor, dist.ReduceOp.MAX, group=self.group, async_op=True)
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

    def await_farewell(self) -> None:
        """Returns once the next rank has said farewell; raises RuntimeError when it is gone without. Not for the main
        thread."""
        if self.group is not None:
            dist.recv(torch.empty(1), (self.world.rank + 1) % self.world.size, group=self.group)

    def say_farewell(self) -> None:
        """To the rank before this one, which waits for it."""
        if self.group is not None:
            dist.send(torch.empty(1), (self.world.rank - 1) % self.world.size, group=self.group)

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
