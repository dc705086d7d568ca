"""Checks of whole runs: ten steps of a tiny network, and two ranks against one process."""

from __future__ import annotations

import multiprocessing
import os
import tempfile
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist

from golang.engine.distributed import data_parallel
from golang.method.objective import Losses
from golang.method.queue import EmbeddingQueue, globalise
from golang.method.sinkhorn import sinkhorn
from golang.training.optim import LARC
from tests.golden.arrays import FP64
from tests.golden.compare import Comparison
from tests.golden.models import Arrays, bottleneck_trunk, golden_model, golden_step, own_name, weights

CPU = torch.device("cpu")
NOISE = ("projection_head.0.bias", "local_projection_head.0.bias")  # zero true gradient: rounding that LARC amplifies
PARTS = {"glb": "global_", "alg": "local", "l2g": "cross_view", "loss": "total"}


def check_full(arrays: Arrays, result: Comparison) -> None:
    """The ten-step run, in fp64 and in fp32."""
    _full_run(arrays, result, torch.float64, "_fp64", loss=1e-10)
    _full_run(arrays, result, torch.float32, "", loss=1e-2)


def _full_run(arrays: Arrays, result: Comparison, dtype: torch.dtype, suffix: str, loss: float) -> None:
    settings = {key: float(arrays[f"cfg/{key}"]) for key in ("wd", "momentum", "trust", "freeze")}
    state = weights(arrays, "w0")
    trunk = bottleneck_trunk(state, int(arrays["cfg/width_per_group"]))
    model = golden_model(state, int(arrays["cfg/heads"]), dtype, trunk)
    step = golden_step(model, arrays["in/lr"], settings)
    images, steps = int(arrays["cfg/bs"]), len(arrays["in/lr"])
    exact = dtype == torch.float64
    parameters = {own_name(str(name)): i for i, name in enumerate(arrays["cfg/param_names"])}
    for iteration in range(steps):
        if iteration == steps // 2:
            rows = int(arrays["cfg/qmul"]) * images
            step.queue = EmbeddingQueue(rows, int(arrays["cfg/D"]), CPU, dtype)
        used = step.queue is not None and step.queue.ready
        result.add(f"queue_used{suffix}[{iteration}]", used, arrays[f"out/queue_used{suffix}"][iteration], 0.0)
        large = _pixels(arrays["in/u8_big"][iteration], dtype)
        small = _pixels(arrays["in/u8_small"][iteration], dtype) if "in/u8_small" in arrays else None
        permutations = torch.from_numpy(arrays["in/perms"][2 * iteration : 2 * iteration + 2])
        losses = step(iteration, large, small, permutations)
        if iteration == 0 and exact:
            _first_gradients(arrays, result, model)
        for part, name in PARTS.items():
            golden = arrays[f"out/loss_{part}{suffix}"][iteration]
            result.add(f"loss_{part}{suffix}[{iteration}]", getattr(losses, name), golden, loss)
        if exact:
            norms = arrays["out/param_norms_after_step_fp64"][iteration]
            for name, parameter in model.named_parameters():
                result.add(f"norm of {name} [{iteration}]", parameter.norm(), norms[parameters[name]], 1e-10, 1e-10)
    if not exact:
        return
    assert step.queue is not None and isinstance(step.optimizer, LARC)
    result.add("queue_final_fp64", step.queue.rows, arrays["out/queue_final_fp64"], 1e-12, 6e-8)
    final = {own_name(name): value for name, value in weights(arrays, "w_final_fp64run").items()}
    for name, value in model.state_dict().items():
        result.add(f"w_final/{name}", value, final[name], 1e-12, 6e-8)
    momenta = {own_name(name): value for name, value in weights(arrays, "mom_final_fp64run").items()}
    for name, parameter in model.named_parameters():
        if name not in momenta or not momenta[name].size:
            continue
        result.add(
            f"momentum of {name}", step.optimizer.state[parameter]["momentum_buffer"], momenta[name], 1e-12, 6e-8
        )


def _first_gradients(arrays: Arrays, result: Comparison, model: torch.nn.Module) -> None:
    golden = {own_name(name): value for name, value in weights(arrays, "grad0_fp64run").items()}
    for name, parameter in model.named_parameters():
        if golden[name].size == 0:
            result.add(f"grad0/{name} is None", parameter.grad is None, True, 0.0)
        else:
            result.add(f"grad0/{name}", parameter.grad, golden[name], 1e-12, 6e-8)


def _pixels(images: np.ndarray, dtype: torch.dtype) -> torch.Tensor:
    return torch.from_numpy(images).to(dtype) / 127.5 - 1


def check_sinkhorn_two_ranks(arrays: Arrays, result: Comparison) -> None:
    """Assignments over two ranks, and their equality with one process on all rows."""
    inputs = [torch.from_numpy(arrays[f"in_rank{r}"]) for r in range(2)]
    exact = inputs[0].dtype == torch.float64
    for rank, got in enumerate(on_ranks(2, _sinkhorn_rank, inputs)):
        result.add(f"out_rank{rank}", got["out"], arrays[f"out_rank{rank}"], FP64 if exact else 2e-5)
    wide = torch.cat(inputs).double()
    single = torch.split(sinkhorn([wide], 0.05)[0], len(inputs[0]))
    for rank, got in enumerate(on_ranks(2, _sinkhorn_rank, [x.double() for x in inputs])):
        result.add(f"rank {rank} against one process, fp64", got["out"], single[rank], FP64)


def _sinkhorn_rank(rank: int, inputs: list[torch.Tensor]) -> dict[str, torch.Tensor]:
    return {"out": sinkhorn([inputs[rank]], 0.05)[0]}


def check_two_ranks(arrays: Arrays, result: Comparison) -> None:
    """LARC steps on two gloo ranks under DDP with synchronised batch norm, and the same data in one process."""
    ranks = on_ranks(2, _train_rank, dict(arrays))
    images = int(arrays["cfg/bs_per_rank"])
    for rank, got in enumerate(ranks):
        for part in PARTS:
            result.add(f"loss_{part}_rank{rank}", got[f"loss/{part}"], arrays[f"out/loss_{part}_rank{rank}"], FP64)
        result.add(f"queue_final_rank{rank}", got["queue"], arrays[f"out/queue_final_rank{rank}"], FP64)
        for kind in ("grad0", "w_final"):
            for name, value in weights(arrays, kind).items():
                result.add(f"{kind}/{name} rank {rank}", got[f"{kind}/{own_name(name)}"], value, FP64)
    single = _train(dict(arrays), [0, 1])
    for part in PARTS:
        golden = arrays[f"out/loss_{part}_single_process"]
        result.add(f"loss_{part} of one process", single[f"loss/{part}"], golden, FP64)
        mean = (ranks[0][f"loss/{part}"] + ranks[1][f"loss/{part}"]) / 2
        result.add(f"mean loss_{part} against one process", mean, single[f"loss/{part}"], FP64)
    for name, value in weights(arrays, "w_final").items():
        result.add(f"w_final/{name} of one process", single[f"w_final/{own_name(name)}"], value, FP64)
    whole = globalise(torch.stack([got["queue"] for got in ranks]), images)
    result.add("the ranks' queues in global order against one process", whole, single["queue"], FP64)


def _train_rank(rank: int, arrays: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    return _train(arrays, [rank])


def _train(arrays: dict[str, np.ndarray], ranks: list[int]) -> dict[str, torch.Tensor]:
    """Trains on the data of `ranks` as one process's batch; under DDP when a process group exists."""
    model = golden_model(weights(arrays, "w0"), int(arrays["cfg/heads"]), torch.float64)
    settings = {key: float(arrays[f"cfg/{key}"]) for key in ("wd", "momentum", "trust", "freeze")}
    steps, images = len(arrays["out/loss_loss_rank0"]), int(arrays["cfg/bs_per_rank"])
    step = golden_step(model, np.full(steps, float(arrays["cfg/lr"])), settings, data_parallel(model))
    rows = int(arrays["cfg/queue_rows_per_rank"]) * len(ranks)
    step.queue = EmbeddingQueue(rows, model.prototypes.in_features, CPU, torch.float64)
    kept: dict[str, torch.Tensor] = {}
    losses: list[Losses] = []
    for i in range(steps):
        large = _joined(arrays, "in/x_map", ranks, i, images)
        small = _joined(arrays, "in/x_small", ranks, i, images) if "in/x_small_rank0" in arrays else None
        losses.append(step(i, large, small, torch.from_numpy(arrays["in/perms"][2 * i : 2 * i + 2])))
        if i == 0:
            kept |= {f"grad0/{n}": p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    kept |= {
        f"loss/{part}": torch.stack([getattr(loss, name).detach() for loss in losses]) for part, name in PARTS.items()
    }
    kept |= {f"w_final/{name}": value for name, value in model.state_dict().items()}
    return kept | {"queue": step.queue.rows}


def _joined(arrays: dict[str, np.ndarray], name: str, ranks: list[int], step: int, images: int) -> torch.Tensor:
    """View-major rows of several ranks' batches as one: within each view, the ranks in order."""
    parts = [torch.from_numpy(arrays[f"{name}_rank{rank}"][step]) for rank in ranks]
    return torch.cat([part.view(-1, images, *part.shape[1:]) for part in parts], dim=1).flatten(0, 1)


def on_ranks(count: int, work: object, inputs: object) -> list[dict[str, torch.Tensor]]:
    """Runs `work(rank, inputs)` in `count` gloo processes and returns what each of them returned."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    with tempfile.TemporaryDirectory() as folder:
        ranks = [context.Process(target=_enter, args=(rank, count, work, inputs, folder)) for rank in range(count)]
        for process in ranks:
            process.start()
        for process in ranks:
            process.join()
        return [torch.load(Path(folder) / f"{rank}.pt", weights_only=True) for rank in range(count)]


def _enter(rank: int, count: int, work: object, inputs: object, folder: str) -> None:
    torch.set_num_threads(1)
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    store = dist.FileStore(  # type: ignore[attr-defined]
        str(Path(folder) / "store"), count
    )
    dist.init_process_group("gloo", store=store, rank=rank, world_size=count)
    assert callable(work)
    torch.save(work(rank, inputs), Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()
