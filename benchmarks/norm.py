"""Batch norm over two ranks, there and back, on a feature map of ResNet-50: `python -m benchmarks.norm`.

The textbook is the definition, differentiated by autograd. Both are compared in fp64 first: output and gradients. The
limit is batch norm of each rank's own rows. The ranks talk through NCCL where each has a GPU of its own; else they
share the device, and talk through gloo.
"""

from __future__ import annotations

import argparse
import os
import tempfile

import torch
import torch.distributed as dist
import torch.multiprocessing as multiprocessing
from torch import Tensor, nn

from benchmarks import textbook, timing
from golang.engine.determinism import keep_freed_memory
from golang.method.batchnorm import BatchNorm
from golang.training.step import AUTOCAST

RANKS = 2


def tensors(images: int, features: int, size: int, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """A feature map that wants a gradient, and the gradient of its norm."""
    shape, layout = (images, features, size, size), torch.channels_last
    x, dy = (torch.randn(shape, device=device).to(dtype, memory_format=layout) for _ in range(2))
    return x.requires_grad_(), dy


def compare(device: torch.device) -> float:
    x, dy = tensors(3, 5, 4, device, torch.float64)
    off, found = 0.0, []
    for norm in (BatchNorm(5).to(device, torch.float64), nn.BatchNorm2d(5).to(device, torch.float64)):
        x.grad = None
        y = norm(x) if isinstance(norm, BatchNorm) else textbook.synchronised_norm(x, norm.weight, norm.bias)
        y.backward(dy)
        found.append({"y": y, "dx": x.grad, "dw": norm.weight.grad, "db": norm.bias.grad})
    for name, ours in found[0].items():
        assert ours is not None
        theirs = found[1][name]
        assert theirs is not None
        off = max(off, timing.check_equal(name, ours, theirs, 1e-12))
    return off


def measure(rank: int, folder: str, options: argparse.Namespace) -> None:
    device, backend = timing.device(), "gloo"
    gpu = device.type == "cuda"
    if torch.cuda.device_count() >= RANKS:
        device, backend = torch.device("cuda", rank), "nccl"
        torch.cuda.set_device(device)
    torch.set_num_threads(max(1, timing.cores() // RANKS))
    torch.manual_seed(rank)
    keep_freed_memory()  # as the trainer does
    store = dist.FileStore(f"{folder}/store", RANKS)  # type: ignore[attr-defined]
    dist.init_process_group(backend, store=store, rank=rank, world_size=RANKS)
    off = compare(device)
    precision = options.precision or ("bf16" if gpu else "fp32")
    x, dy = tensors(options.images or (128 if gpu else 16), 256, 56, device, AUTOCAST[precision] or torch.float32)
    ours, alone = BatchNorm(256).to(device), nn.BatchNorm2d(256).to(device)
    ways: dict[str, timing.Way] = {
        "textbook": lambda: textbook.synchronised_norm(x, ours.weight, ours.bias).backward(dy),
        "ours": lambda: ours(x).backward(dy),
        "each rank's own": lambda: alone(x).backward(dy),
    }
    seconds = timing.interleaved(ways, device, options.rounds)
    dist.destroy_process_group()
    if rank == 0:
        limit = seconds["each rank's own"]
        rows = [(name, 1e3 * taken, seconds["textbook"] / taken, limit / taken) for name, taken in seconds.items()]
        result: dict[str, object] = {
            "bench": "norm", "ratio": seconds["textbook"] / seconds["ours"], "limit_share": limit / seconds["ours"],
            "off": off, "precision": precision, "backend": backend,
        }  # fmt: skip
        title = f"batch norm of {list(x.shape)} on each of {RANKS} ranks, {precision}, {backend}"
        timing.show(title, ("way", "ms", "× textbook", "share of the limit"), rows, result, device)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.norm", description=__doc__)
    parser.add_argument("--images", type=int, help="crops a rank (16, or 128 on a GPU)")
    parser.add_argument("--precision", choices=("fp32", "bf16"), help="(fp32, or bf16 on a GPU)")
    parser.add_argument("--rounds", type=int, default=9, help="turns of every way (9)")
    options = parser.parse_args()
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    with tempfile.TemporaryDirectory() as folder:
        multiprocessing.spawn(measure, args=(folder, options), nprocs=RANKS)


if __name__ == "__main__":
    main()
