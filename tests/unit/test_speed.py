"""What makes the trainer fast gives the textbook's results, and holds: few operations, nothing read back in a step."""

from __future__ import annotations

import json
from types import ModuleType, SimpleNamespace

import pytest
import torch
from torch.autograd import DeviceType

from benchmarks import __main__ as every
from benchmarks import alignment, objective, optim, step, textbook, timing, train
from golang.config import Optim
from golang.config.identity import result_settings, run_id
from golang.engine.rank import join
from golang.method.heads import ProjectionHead
from golang.method.model import SwAV
from golang.method.permutations import local_permutations
from golang.method.queue import EmbeddingQueue
from golang.training import optim as engine
from golang.training.meters import Meter, Sentinel
from golang.training.optim import LARC
from golang.training.step import precision_on
from golang.world import World
from tests.unit.test_method import crops, step_of, tiny

CPU = torch.device("cpu")
PERMUTATIONS = local_permutations("batch", 4, 0, 0, 0, 4)


@pytest.mark.parametrize(
    ("bench", "arguments"),
    [
        (alignment, ["--images=1", "--channels=32", "--hidden=24", "--rounds=1"]),
        (objective, ["--images=1", "--prototypes=40", "--queue=8", "--rounds=1"]),
        (optim, ["--trunk=small", "--rounds=1"]),
        (step, ["--trunk=small", "--images=1", "--rounds=1"]),
        (train, ["--trunk=small", "--images=1", "--rounds=1", "--steps=1", "--workers=0", "--pipeline=pil"]),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_equal_to_the_textbook(
    bench: ModuleType, arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each benchmark compares both ways in fp64 before it measures, and ends where they differ."""
    monkeypatch.setattr("sys.argv", [bench.__name__, *arguments])
    bench.main()
    result = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    assert result["bench"] == bench.__name__.removeprefix("benchmarks.") and result["off"] < 1e-10
    assert result["ratio"] > 0 and result["limit_share"] > 0
    assert result["device"] == (torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu, 1 threads")
    assert result.get("syncs", 0) == 0 and result["launches"] < result.get("launches_textbook", 10**6)


@pytest.mark.parametrize("bench", [step, train])
def test_fp64_is_compared_and_not_measured(
    bench: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The loaders give fp32, and the limit is measured in it."""
    monkeypatch.setattr("sys.argv", [bench.__name__, "--precision=fp64"])
    with pytest.raises(SystemExit):
        bench.main()
    assert "invalid choice: 'fp64'" in capsys.readouterr().err


def test_a_difference_ends_a_benchmark() -> None:
    with pytest.raises(SystemExit, match=r"alignment: ours and the textbook's differ by 0\.5"):
        timing.check_equal("alignment", torch.zeros(2), torch.tensor([0.0, 0.5]), 1e-10)
    with pytest.raises(SystemExit, match="nan"):
        timing.check_equal("alignment", torch.zeros(1), torch.tensor([float("nan")]), 1e-10)


def test_alignment_is_a_few_operations() -> None:
    features = torch.randn(4, 32, 7, 7).contiguous(memory_format=torch.channels_last).requires_grad_()
    arriving = torch.randn(4 * 4, 32)
    ours, theirs = ProjectionHead(32, 24, 16), textbook.Model._head(32, 24, 16)
    one = timing.work(lambda: alignment.both_passes(alignment.ours, ours, features, arriving), CPU)
    other = timing.work(lambda: alignment.both_passes(alignment.theirs, theirs, features, arriving), CPU)
    assert one.launches <= 80 and other.launches > 1000


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_step_reads_nothing_back(precision: str) -> None:
    """Queue, LARC, the scaler of fp16 and the metrics included; and one log-softmax a branch."""
    config = tiny(precision=precision)
    one, meter, sentinel = step_of(config), Meter(config, CPU), Sentinel.on(CPU)
    one.queue = EmbeddingQueue(4, 16, CPU)
    images = crops()

    def once() -> None:
        losses = one(0, *images, PERMUTATIONS)
        sentinel.look(0, losses.total, one.optimizer)
        meter.add(losses, one.signs, one.optimizer)

    assert timing.work(once, CPU).syncs == 0
    with timing.Operations() as counter:
        once()
    assert one.queue.ready and counter.names["_log_softmax"] == 3
    assert timing.work(lambda: float(meter.sums[0]), CPU).syncs == 1, "what is looked for would be found"


@pytest.mark.parametrize("skipped", [None, False, True])
def test_a_gpu_s_larc_is_a_processor_s(skipped: bool | None) -> None:
    """The same updates in one vector as tensor by tensor: layouts, zero norms and a skipped step included."""
    torch.manual_seed(0)
    shapes = [(8, 4, 3, 3), (5, 3, 1, 1), (7,), (6, 2), (3,), (2 * engine.ROW + 3,), (engine.ROW // 4, 4)]
    tensors = [torch.randn(shape, dtype=torch.float64) for shape in shapes]
    tensors[0] = tensors[0].contiguous(memory_format=torch.channels_last)
    tensors[2].zero_()
    group = {"weight_decay": 1e-2, "momentum": 0.9, "lr": 0.3, "trust": 1e-3, "eps": 1e-8, "adapt": True}
    gradients = [torch.randn_like(tensor) for tensor in tensors]
    gradients[4].zero_()
    ratios = engine._ratios(tensors, torch.stack([gradient.norm() for gradient in gradients]), group)
    assert ratios[2] == 1 and ratios[4] == 0
    if skipped:
        gradients[1].fill_(float("inf"))
    flag = None if skipped is None else torch.tensor(skipped)
    one, other = [tensor.clone() for tensor in tensors], [tensor.clone() for tensor in tensors]
    buffers = [[torch.full_like(tensor, 0.25) for tensor in tensors] for _ in range(2)]
    engine._one_by_one(one, gradients, buffers[0], ratios, group, flag)
    engine._together(other, gradients, buffers[1], ratios, group, flag, engine._Updates(other))
    for before, a, b, m, n in zip(tensors, one, other, *buffers, strict=True):
        assert torch.allclose(a, b, atol=1e-15, rtol=1e-14) and torch.allclose(m, n, atol=1e-15, rtol=1e-14)
        assert torch.equal(a, before) is bool(skipped)


def test_larc_allocates_no_momentum_twice() -> None:
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = LARC([weight], 0.1, Optim().momentum, 0.0, 1e-3)
    for _ in range(2):
        weight.grad = torch.ones(3)
        optimizer.step()
        buffer = optimizer.state[weight]["momentum_buffer"]
        kept = buffer.data_ptr()
    optimizer.step()
    assert optimizer.state[weight]["momentum_buffer"].data_ptr() == kept


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_stays_in_the_network(precision: str) -> None:
    """The queue's cosines, the running statistics and the targets are of fp32."""
    one = step_of(tiny(precision=precision))
    one.queue = EmbeddingQueue(4, 16, CPU)
    one(0, *crops(), PERMUTATIONS)
    past = one.queue.rows.clone()
    _, targets = one.gradients(1, *crops(), PERMUTATIONS)
    wide = past[0] @ one.model.prototypes.weight.detach().T
    assert targets.logits[0].dtype == targets.global_.dtype == torch.float32
    assert torch.equal(targets.logits[0][:4], wide)
    assert all(buffer.dtype in (torch.float32, torch.int64) for buffer in one.model.buffers())


def test_fp32_is_not_tf32() -> None:
    """Whatever the surroundings say, as NVIDIA's containers do by TORCH_ALLOW_TF32_CUBLAS_OVERRIDE."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        with join(tiny(device="cpu"), World()):
            assert torch.get_float32_matmul_precision() == "highest"
    finally:
        torch.set_float32_matmul_precision(before)


def test_precision_auto() -> None:
    """fp32 on a processor, to the bit, in a run whose identity is the same on every machine."""

    def weights(precision: str) -> SwAV:
        one = step_of(tiny(precision=precision))
        one(0, *crops(), PERMUTATIONS)
        return one.model

    one, other = weights("auto").state_dict(), weights("fp32").state_dict()
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert precision_on(CPU, "auto") == "fp32" and precision_on(CPU, "bf16") == "bf16"
    assert result_settings(tiny(precision="auto"))["precision"] == "auto"
    assert len({run_id(tiny(precision=name)) for name in ("auto", "fp16", "bf16", "fp32")}) == 4


def test_idle_share() -> None:
    """Kernels that overlap count once, and the host's events, its copies and marks not at all."""

    def event(
        start: float, end: float, device: DeviceType = DeviceType.CUDA, mark: bool = False, name: str = "kernel"
    ) -> SimpleNamespace:
        span = SimpleNamespace(start=start, end=end)
        return SimpleNamespace(time_range=span, device_type=device, is_user_annotation=mark, name=name)

    kernels = [event(6, 8), event(0, 2), event(1, 4), event(2, 3)]
    copy = event(0, 50, name="Memcpy HtoD (Pinned -> Device)")
    others = [event(0, 50, DeviceType.CPU), event(0, 50, mark=True), copy]
    assert timing._idle([*others, *kernels]) == pytest.approx(1 - 6 / 8)
    assert timing._idle(others) is None


def test_all_benchmarks_in_one_call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Tables, one line of JSON last, and a benchmark that fails is named."""
    monkeypatch.setattr(every, "commands", lambda only, gpu: [["nodes", "--step-seconds=1", "--nic=1"], ["nothing"]])
    monkeypatch.setattr("sys.argv", ["benchmarks"])
    assert every.main() == 1
    *said, last = capsys.readouterr().out.strip().splitlines()
    nodes, failed = json.loads(last)["benchmarks"]
    assert nodes["bench"] == "nodes" and nodes["calls"] == 123
    assert "No module named" in failed["failed"] and any("nothing failed" in line for line in said)
    assert any("a step's collectives" in line for line in said)
