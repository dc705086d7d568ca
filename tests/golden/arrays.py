"""Checks of the small files: heads, Sinkhorn, queue, LARC, learning rate, average precision, state dict."""

from __future__ import annotations

import re

import numpy as np
import torch

from golang.config import Config, CrossView, Model, Optim
from golang.evaluation.average_precision import average_precision
from golang.method.model import build_model, large_views, split_views
from golang.method.objective import compute_losses, make_targets
from golang.method.queue import EmbeddingQueue
from golang.method.sinkhorn import sinkhorn
from golang.method.trunk import TRUNKS
from golang.training.optim import LARC, learning_rates
from tests.golden.compare import Comparison
from tests.golden.models import METHOD, Arrays, golden_model, own_name, weights

FP64 = 1e-12


def check_head(arrays: Arrays, result: Comparison) -> None:
    """One forward and backward pass with the trunk's output given."""
    x_map = torch.from_numpy(arrays["in/x_map"]).requires_grad_()
    small = torch.from_numpy(arrays["in/x_small"]).requires_grad_() if "in/x_small" in arrays else None
    exact = x_map.dtype == torch.float64
    output, codes, gradient = (FP64, FP64, FP64) if exact else (5e-6, 2e-5, 1e-5)
    model = golden_model(weights(arrays, "w_before"), int(arrays["cfg/heads"]), x_map.dtype)
    images = int(arrays["cfg/bs"])
    model.normalise_prototypes()

    probe = golden_model(weights(arrays, "w_before"), int(arrays["cfg/heads"]), x_map.dtype)
    positions = probe.projection_head.at_positions(x_map.detach().flatten(2).transpose(1, 2))
    result.add("out/attention_pre", positions.transpose(1, 2), arrays["out/attention_pre"], output)
    norm = probe.projection_head[1]
    for statistic in ("mean", "var"):
        name = f"out/bn_running_{statistic}_after_positions_only"
        result.add(name, getattr(norm, f"running_{statistic}"), arrays[name], output)

    branches = model(x_map, small)
    targets = make_targets(model, branches, images, METHOD)
    permutations = torch.from_numpy(np.stack([arrays["in/perm_0"], arrays["in/perm_1"]]))
    losses = compute_losses(branches, targets, images, METHOD, CrossView(), permutations)
    losses.total.backward()  # type: ignore[no-untyped-call]
    assert branches.cross_logits is not None and targets.local is not None
    first, second = split_views(branches.cross_logits, images)
    computed = {
        "out/attention": branches.attention,
        "out/align_features": branches.local_features,
        "out/embedding": branches.embedding,
        "out/output": branches.logits,
        "out/local_embedding": branches.local_embedding,
        "out/local_output": branches.local_logits,
        "out/l2g_logits_0": second,
        "out/l2g_logits_1": first,
        "out/loss_glb": losses.global_,
        "out/loss_alg": losses.local,
        "out/loss_l2g": losses.cross_view,
        "out/loss_loss": losses.total,
    }
    for name, value in computed.items():
        result.add(name, value, arrays[name], output)
    for i, code in enumerate([*targets.global_, *targets.local]):
        result.add(f"out/sinkhorn_in_{i}", targets.logits[i], arrays[f"out/sinkhorn_in_{i}"], output)
        result.add(f"out/sinkhorn_out_{i}", code, arrays[f"out/sinkhorn_out_{i}"], codes)
    gradients = {own_name(name): value for name, value in weights(arrays, "grad").items()}
    for name, parameter in model.named_parameters():
        result.add(f"grad/{name}", parameter.grad, gradients[name], gradient)
    result.add("grad/x_map", x_map.grad, arrays["grad/x_map"], gradient)
    if small is not None:
        result.add("grad/x_small", small.grad, arrays["grad/x_small"], gradient)
    state = model.state_dict()
    for name, value in weights(arrays, "w_after").items():
        result.add(f"w_after/{name}", state[own_name(name)], value, output)


def check_sinkhorn(arrays: Arrays, result: Comparison) -> None:
    """Assignments of one process; names are <set>_in, <set>_out, <set>_out_fp64, <set>_out_eps<e>_it<n>."""
    for name in arrays:
        match = re.fullmatch(r"(\w+?)_out(_fp64)?(?:_eps([\d.e-]+)_it(\d+))?(_fp64)?", name)
        if match is None:
            continue
        exact = bool(match[2] or match[5]) or arrays[f"{match[1]}_in"].dtype == np.float64
        logits = torch.from_numpy(arrays[f"{match[1]}_in"]).to(torch.float64 if exact else torch.float32)
        epsilon, iterations = float(match[3] or 0.05), int(match[4] or 3)
        result.add(name, sinkhorn([logits], epsilon, iterations)[0], arrays[name], FP64 if exact else 2e-5)


def check_queue(arrays: Arrays, result: Comparison) -> None:
    """Several steps of frozen weights through the queue."""
    state = weights(arrays, "w")
    x_map = torch.from_numpy(arrays["in/x_map"])
    exact = x_map.dtype == torch.float64
    output, codes = (FP64, FP64) if exact else (5e-6, 2e-5)
    images = int(arrays["cfg/bs"])
    model = golden_model(state, int(arrays["cfg/heads"]), x_map.dtype)
    length, features = arrays["out/queue_final"].shape[1:]
    queue = EmbeddingQueue(length, features, torch.device("cpu"), x_map.dtype)
    for step in range(len(x_map)):
        result.add(f"queue_before_step[{step}]", queue.rows, arrays["out/queue_before_step"][step], output)
        result.add(f"used[{step}]", queue.ready, arrays["out/used"][step], 0.0)
        model.normalise_prototypes()
        small = torch.from_numpy(arrays["in/x_small"][step]) if "in/x_small" in arrays else None
        branches = model(x_map[step], small)
        targets = make_targets(model, branches, images, METHOD, queue)
        permutations = torch.from_numpy(arrays["in/perms"][2 * step : 2 * step + 2])
        losses = compute_losses(branches, targets, images, METHOD, CrossView(), permutations)
        result.add(f"embedding_{step}", branches.embedding, arrays[f"out/embedding_{step}"], output)
        result.add(f"output_{step}", branches.logits, arrays[f"out/output_{step}"], output)
        for view in range(2):
            name = f"out/step{step}_view{view}"
            result.add(f"{name}_sinkhorn_in", targets.logits[view], arrays[f"{name}_sinkhorn_in"], output)
            result.add(f"{name}_q", targets.global_[view], arrays[f"{name}_q"], codes)
        parts = {"glb": losses.global_, "alg": losses.local, "l2g": losses.cross_view, "loss": losses.total}
        for part, value in parts.items():
            result.add(f"loss_{part}[{step}]", value, arrays[f"out/loss_{part}"][step], output)
    result.add("queue_final", queue.rows, arrays["out/queue_final"], output)
    # The rows in front are the last step's embeddings, whatever came before.
    newest = large_views(branches.embedding, images)
    result.add("queue_final (newest rows)", newest, arrays["out/queue_final"][:, :images], output)


def check_larc(arrays: Arrays, result: Comparison) -> None:
    """LARC on given raw gradients, from the given weights on."""
    initial = weights(arrays, "p0")
    exact = next(iter(initial.values())).dtype == np.float64
    # fp32: the golden formula to the bit up to the order of the norms' sums.
    absolute, relative = (FP64, 0.0) if exact else (1e-7, 1e-6)
    parameters = {name: torch.nn.Parameter(torch.from_numpy(np.array(value))) for name, value in initial.items()}
    settings = {key: float(arrays[f"cfg/{key}"]) for key in ("momentum", "wd", "trust", "eps")}
    optimizer = LARC(parameters.values(), 0.0, settings["momentum"], settings["wd"], settings["trust"], settings["eps"])
    for step, lr in enumerate(arrays["in/lr"]):
        gradients = weights(arrays, f"g{step}")
        for name, parameter in parameters.items():
            parameter.grad = torch.from_numpy(np.array(gradients[name])) if name in gradients else None
        optimizer.param_groups[0]["lr"] = float(lr)
        optimizer.step()
        for name, value in weights(arrays, f"p{step + 1}").items():
            result.add(f"p{step + 1}/{name}", parameters[name], value, absolute, relative)
    for name, value in weights(arrays, "pfinal").items():
        result.add(f"pfinal/{name}", parameters[name], value, absolute, relative)
    for name, value in weights(arrays, "mom").items():
        result.add(f"mom/{name}", optimizer.state[parameters[name]]["momentum_buffer"], value, absolute, relative)


def check_lr(arrays: Arrays, result: Comparison) -> None:
    """Learning-rate schedules."""
    for case in sorted({name.split("/")[0] for name in arrays}):
        steps, epochs, warmup, base, final, start = (float(x) for x in arrays[f"{case}/params"])
        optim = Optim(epochs=int(epochs), warmup_epochs=int(warmup), base_lr=base, final_lr=final, start_lr=start)
        rates = learning_rates(optim, int(steps))
        result.add(f"{case}/len", len(rates), arrays[f"{case}/len"], 0.0)
        result.add(f"{case}/lr", rates[:: int(arrays[f"{case}/stride"])], arrays[f"{case}/lr"], FP64)
        result.add(f"{case}/last", rates[-1], arrays[f"{case}/last"], FP64)


def check_map(arrays: Arrays, result: Comparison) -> None:
    """Average precision, with and without ignored labels."""
    for suffix in ("", "_ignore"):
        computed = average_precision(arrays["in/pred"], arrays[f"in/labels{suffix}"])
        result.add(f"out/AP{suffix}", computed.per_class, arrays[f"out/AP{suffix}"], FP64)
        result.add(f"out/mAP{suffix}", computed.mean, arrays[f"out/mAP{suffix}"], FP64)


def check_state_dict(name: str, layout: dict[str, tuple[list[int], str]], result: Comparison) -> None:
    """The published layout: every key, shape and dtype; the trunk is the one the file is named after."""
    trunk = next((trunk for trunk in sorted(TRUNKS, key=len, reverse=True) if trunk in name), "resnet50")
    shapes = {key.removeprefix("module."): shape for key, (shape, _) in layout.items()}
    features, hidden = shapes["projection_head.3.weight"]
    prototypes, local = shapes["prototypes.weight"][0], shapes["local_prototypes.weight"][0]
    sizes = Model(trunk, 1, hidden, features, prototypes, local)
    state = build_model(Config(model=sizes)).state_dict()
    own = {f"module.{key.removeprefix('trunk.')}": value for key, value in state.items()}
    result.add("number of keys", len(own), len(layout), 0.0)
    for key in sorted(own.keys() ^ layout.keys()):
        result.misses.append(f"{key}: {'surplus' if key in own else 'missing'}")
    for key in sorted(own.keys() & layout.keys()):
        result.add(f"shape of {key}", list(own[key].shape), layout[key][0], 0.0)
        result.add(f"dtype of {key}", str(own[key].dtype) == f"torch.{layout[key][1]}", True, 0.0)
