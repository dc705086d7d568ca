"""The method's options and properties that the golden arrays, which have the published defaults, do not show."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
import torchvision

from golang.config import Config, CrossView, Method
from golang.config.checks import TRUNK_CHANNELS
from golang.method import trunk
from golang.method.batchnorm import BatchNorm
from golang.method.collapse import uniform_losses
from golang.method.heads import normalised
from golang.method.model import GOLANG, Branches, SwAV, build_model
from golang.method.objective import Targets, cross_view_loss, global_loss, local_loss
from golang.method.permutations import local_permutations
from golang.method.queue import EmbeddingQueue, globalise, localise
from golang.method.signs import read_signs
from golang.method.trunk import TRUNKS, build_trunk, small_resnet
from golang.training.meters import NEVER, Sentinel
from golang.training.optim import LARC, build_optimizer
from golang.training.step import TrainStep

DEVICES = ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",)
TINY = {
    "precision": "fp32",
    "model": {"trunk": "small", "hidden_dim": 24, "feature_dim": 16, "prototypes": 10, "local_prototypes": 11},
    "optim": {"freeze_iterations": 0, "batch_size": 4},
    "queue": {"length": 0},
}


def tiny(**changes: object) -> Config:
    return Config.from_dict(
        {
            key: {**TINY.get(key, {}), **value} if isinstance(value, dict) else value
            for key, value in {**TINY, **changes}.items()
        }
    )


def step_of(config: Config, model: SwAV | None = None) -> TrainStep:
    model = model or build_model(config)
    return TrainStep(config, model, build_optimizer(config.optim, model), [0.1] * 10)


def crops(images: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(0)
    return torch.randn(2 * images, 3, 32, 32, generator=draw), torch.randn(2 * images, 3, 16, 16, generator=draw)


def test_positions_as_separate_calls() -> None:
    torch.manual_seed(0)
    batched, looped = BatchNorm(5).double(), BatchNorm(5).double()
    x = torch.randn(6, 7, 5, dtype=torch.float64)
    expected = torch.stack([looped(x[:, p]) for p in range(7)], dim=1)
    assert torch.allclose(batched.at_positions(x), expected, atol=1e-13)
    for name, value in looped.state_dict().items():
        assert torch.allclose(batched.state_dict()[name], value, atol=1e-13), name
    batched.eval(), looped.eval()
    assert torch.allclose(batched.at_positions(x), looped(x.flatten(0, 1)).view_as(x))


def test_losses_as_written() -> None:
    """The sums over pairs of views, one by one."""
    torch.manual_seed(0)
    views, images, n, k = 5, 3, 4, 6
    log_p = F.log_softmax(torch.randn(views, images, k).double(), -1)
    q = torch.softmax(torch.randn(2, images, k).double(), -1)
    pairs = [-(q[i] * log_p[v]).sum(1).mean() for i in range(2) for v in range(views) if v != i]
    assert torch.isclose(global_loss(log_p, q), sum(pairs) / (2 * (views - 1)))
    local_log_p = F.log_softmax(torch.randn(2, images, n, k).double(), -1)
    local_q = torch.softmax(torch.randn(2, images, n, k).double(), -1)
    permutations = torch.stack([torch.randperm(n) for _ in range(2)])
    expected = sum(-(local_q[i] * local_log_p[1 - i][:, permutations[i]]).sum(-1).mean() for i in range(2)) / 2
    assert torch.isclose(local_loss(local_log_p, local_q, permutations), expected)
    each = torch.stack([torch.stack([torch.randperm(n) for _ in range(images)]) for _ in range(2)])
    by_image = sum(
        -(local_q[i, b] * local_log_p[1 - i, b][each[i, b]]).sum(-1).mean() for i in range(2) for b in range(images)
    ) / (2 * images)
    assert torch.isclose(local_loss(local_log_p, local_q, each), by_image)
    pairs = [-(q[g] * log_p[v]).sum(1).mean() for i in range(2) for v in range(2) if v != i for g in range(2)]
    assert torch.isclose(cross_view_loss(log_p[:2], q, same_view=True), sum(pairs) / 4)
    others = [-(q[1 - v] * log_p[v]).sum(1).mean() for v in range(2)]
    assert torch.isclose(cross_view_loss(log_p[:2], q, same_view=False), sum(others) / 2)


@pytest.mark.parametrize("detach", [True, False])
def test_cross_view_gradient(detach: bool) -> None:
    """Detached, the cross-view loss trains the l2g prototypes alone; else the trunk too."""
    config = tiny(cross_view={"detach": detach})
    model = build_model(config)
    assert isinstance(model, GOLANG)
    branches = model(*crops())
    assert branches.cross_logits is not None
    branches.cross_logits.square().sum().backward()
    trained = {name for name, p in model.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    if detach:
        assert trained == {"l2g_prototypes.weight"}
    else:
        assert "trunk.conv1.weight" in trained and "local_projection_head.0.weight" in trained


def test_attention_temperature_sharpens() -> None:
    def entropy(temperature: float) -> float:
        model = build_model(tiny(attention={"temperature": temperature}))
        attention = model(*crops()).attention
        assert torch.allclose(attention.sum(2), torch.ones(()))
        return float(-(attention * attention.log()).sum(2).mean().detach())

    assert entropy(0.05) < entropy(1.0)


def test_swav_has_the_global_branch_alone() -> None:
    config = tiny(method={"name": "swav"})
    model = build_model(config)
    assert type(model) is SwAV and not any("local" in name for name, _ in model.named_parameters())
    losses = step_of(config, model)(0, *crops(), None)
    assert losses.local is None and losses.total is losses.global_
    assert set(uniform_losses(config)) == {"loss", "loss_global"}


def test_permutations() -> None:
    batch = local_permutations("batch", 8, seed=3, step=5, first_row=0, rows=4)
    assert batch.shape == (2, 8) and (batch.sort(1).values == torch.arange(8)).all()
    assert torch.equal(batch, local_permutations("batch", 8, 3, 5, first_row=4, rows=4)), "equal on all ranks"
    assert not torch.equal(batch, local_permutations("batch", 8, 3, 6, 0, 4))
    whole = local_permutations("image", 8, 3, 5, first_row=0, rows=8)
    second = local_permutations("image", 8, 3, 5, first_row=4, rows=4)
    assert whole.shape == (2, 8, 8) and torch.equal(whole[:, 4:], second), "another world size, the same permutations"
    matched = local_permutations("matched", 4, 0, 0, 0, 2)
    assert torch.equal(matched, torch.arange(4).expand(2, 4))
    assert all(one.is_contiguous() for one in (batch, whole, second, matched)), "page-locked memory takes no other"


def test_queue_between_world_sizes() -> None:
    """Two ranks that push their halves hold, together, what one rank holds."""
    one = EmbeddingQueue(12, 3, torch.device("cpu"))
    ranks = [EmbeddingQueue(6, 3, torch.device("cpu")) for _ in range(2)]
    for step in range(4):
        new = torch.randn(2, 4, 3)
        assert one.ready == ranks[0].ready == (step >= 3)
        one.push(new)
        for rank, queue in enumerate(ranks):
            queue.push(new[:, 2 * rank : 2 * rank + 2])
    whole = globalise(torch.stack([queue.rows for queue in ranks]), rows_a_step=2)
    assert torch.equal(whole, one.rows)
    for rank, queue in enumerate(ranks):
        assert torch.equal(localise(one.rows, rank, 2, rows_a_step=2), queue.rows)


def test_local_queue_uses_local_prototypes_and_its_own_counter() -> None:
    config = tiny()
    step = step_of(config)
    step.queue = EmbeddingQueue(4, 16, torch.device("cpu"))
    step.local_queue = EmbeddingQueue(32, 16, torch.device("cpu"))
    permutations = local_permutations("batch", 4, 0, 0, 0, 4)
    step(0, *crops(), permutations)
    assert step.queue.ready and not step.local_queue.ready
    _, targets = step.gradients(1, *crops(), permutations)
    assert [len(logits) for logits in targets.logits] == [8, 8, 16, 16]
    assert step.local_queue.ready
    past = step.local_queue.rows.clone()
    _, targets = step.gradients(2, *crops(), permutations)
    assert [len(logits) for logits in targets.logits] == [8, 8, 48, 48]
    assert isinstance(step.model, GOLANG)
    assert torch.allclose(targets.logits[2][:32], past[0] @ step.model.local_prototypes.weight.T)


def test_larc_leaves_out_bias_and_norm() -> None:
    config = tiny(optim={"adapt_bias_and_norm": False, "freeze_iterations": 0, "batch_size": 4})
    model = build_model(config)
    optimizer = build_optimizer(config.optim, model)
    adapted, plain = optimizer.param_groups
    assert all(p.dim() > 1 for p in adapted["params"]) and all(p.dim() <= 1 for p in plain["params"])
    bias = plain["params"][0]
    bias.data.fill_(1.0)
    bias.grad = torch.full_like(bias, 0.5)
    plain["lr"] = 0.1
    optimizer.step()
    assert torch.allclose(bias, torch.full_like(bias, 0.95)), "a plain gradient step"


@pytest.mark.parametrize("overflow", [False, True])
def test_fp16_overflow_is_skipped_and_not_a_failure(overflow: bool) -> None:
    """A gradient that overflows in fp16 leaves weights and momentum alone, halves the scale, and is counted."""
    config = replace(tiny(), precision="fp16")
    step = step_of(config)
    step.scaler = torch.amp.GradScaler("cpu", init_scale=1e38 if overflow else 1024.0)
    before = {name: p.clone() for name, p in step.model.named_parameters() if "prototypes" not in name}
    sentinel = Sentinel.on(torch.device("cpu"))
    losses = step(0, *crops(), local_permutations("batch", 4, 0, 0, 0, 4))
    sentinel.look(0, losses.total, step.optimizer)
    moved = [name for name, p in step.model.named_parameters() if name in before and not torch.equal(p, before[name])]
    assert torch.isfinite(losses.total) and int(sentinel.first) == NEVER
    assert bool(moved) is not overflow and int(sentinel.skipped) == int(overflow)
    assert (step.scaler.get_scale() < 1e38) is True


def test_the_sentinel_remembers_the_first_bad_step() -> None:
    sentinel = Sentinel.on(torch.device("cpu"))
    for step, loss in enumerate([1.0, float("nan"), 2.0, float("inf")]):
        sentinel.look(step, torch.tensor(loss), object())
    assert int(sentinel.first) == 1
    sentinel = Sentinel.on(torch.device("cpu"))
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = LARC([weight], 0.1, 0.9, 0.0, 1e-3)
    weight.grad = torch.tensor([1.0, float("inf"), 0.0])
    optimizer.step()
    sentinel.look(7, torch.tensor(1.0), optimizer)
    assert int(sentinel.first) == 7, "a finite loss with a gradient that is not"


def test_trunks() -> None:
    assert set(TRUNKS) >= {"small", "resnet18", "resnet34", "resnet50", "resnet101", "wide_resnet50_2"}
    for name in ("small", "resnet18"):
        trunk = build_trunk(name)
        assert trunk(torch.zeros(2, 3, 64, 64)).shape[:2] == (2, trunk.channels)
        assert trunk.channels == TRUNK_CHANNELS[name]
    assert TRUNK_CHANNELS["resnet50"] == 2048 and set(TRUNK_CHANNELS) <= set(TRUNKS)


def test_weights_are_a_function_of_the_seed() -> None:
    torch.manual_seed(1)
    a = build_model(tiny(seed=4)).state_dict()
    torch.manual_seed(2)
    b, c = build_model(tiny(seed=4)).state_dict(), build_model(tiny(seed=5)).state_dict()
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert not all(torch.equal(a[name], c[name]) for name in a)
    assert Method() == Config().method and CrossView() == Config().cross_view


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("device", DEVICES)
def test_the_precision_of_each_result(device: str, dtype: torch.dtype) -> None:
    """Under autocast what feeds exponentials is of full precision on every device; feature maps are not."""
    model = build_model(tiny()).to(device)
    large, small = (part.to(device) for part in crops())
    with torch.autocast(device, dtype):
        branches = model(large, small)
    found = {name: value.dtype for name, value in vars(branches).items()}
    assert found.pop("local_features") == dtype
    assert set(found.values()) == {torch.float32}, found
    assert all(value.isfinite().all() for value in vars(branches).values())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_unit_length(dtype: torch.dtype) -> None:
    """Of rows whose squares half precision has not; a row of zeros stays one."""
    rows = torch.tensor([[0.0, 0.0], [6e-5, 8e-5], [3e4, 4e4]], dtype=dtype)
    unit = normalised(rows, dim=1)
    assert unit.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert torch.allclose(unit.double(), torch.tensor([[0, 0], [0.6, 0.8], [0.6, 0.8]]).double(), atol=4e-3)


def test_the_entropy_of_attention() -> None:
    """Of a share a position: 1 where all are alike, 0 where one has all, whose logarithm of nothing counts nothing."""
    shares = torch.tensor([[[0.25] * 4, [1.0, 0, 0, 0], [0.5, 0.5, 0, 0]]])
    branches = Branches(torch.ones(2, 2), torch.ones(2, 3), shares)
    seen = read_signs(branches, Targets(torch.ones(2, 1, 3), None, []))
    assert seen.attention_entropy is not None
    assert float(seen.attention_entropy) == pytest.approx((1 + 0 + 0.5) / 3)


@pytest.mark.parametrize("block", [torchvision.models.resnet.BasicBlock, torchvision.models.resnet.Bottleneck])
def test_layer_by_layer(block: type, monkeypatch: pytest.MonkeyPatch) -> None:
    """As GPUs of several ranks have both sizes of crop pass: the same feature maps, gradients and buffers."""
    torch.manual_seed(0)
    in_turn = small_resnet(block, width=4).double()
    layered = copy.deepcopy(in_turn)
    found = []
    for trunk_, waits in ((in_turn, False), (layered, True)):
        monkeypatch.setattr(trunk, "_waits", lambda x, waits=waits: waits)
        maps = trunk_.together([part.double() for part in crops()])
        sum((each**3).sum() for each in maps).backward()
        found.append([*maps, *(p.grad for p in trunk_.parameters()), *trunk_.buffers()])
    for one, other in zip(*found, strict=True):
        assert torch.allclose(one.double(), other.double(), rtol=1e-9, atol=1e-9)
