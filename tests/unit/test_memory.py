"""`python -m golang.memory`: its peaks beside those of torch's own allocator, the allocator's rules, bad input."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch

from golang.config import Config
from golang.errors import ConfigError
from golang.memory.__main__ import main, settings
from golang.memory.allocator import MIB, Allocator, OutOfMemoryError, replay
from golang.memory.estimate import CARDS, KEPT, estimate, fitting
from golang.memory.trace import trace
from golang.method.model import build_model

# GiB that torch's CUDA allocator had given out at most in a step: torch.cuda.max_memory_allocated(), as
# `tests.cuda.trace` reads it (torch 2.14.1; Case() has the settings, here by their names). Neither the CUDA context nor
# what cuDNN and NCCL take past the allocator is in it.
PEAKS: list[tuple[int, dict[str, Any], float]] = [
    (1, {}, 9.234),
    (8, {"images": 16}, 2.849),
    (1, {"precision": "fp32", "method": {"name": "swav"}}, 16.48),
    (1, {"model": {"trunk": "resnet18"}}, 3.029),
    (8, {"optim": {"accumulate": 4}}, 3.227),
    (1, {"optim": {"adapt_bias_and_norm": False}, "queue": {"local_length": 4096}, "images": 32}, 5.065),
]

SMALL = [
    "model.trunk=small", "model.prototypes=300", "model.local_prototypes=300", "queue.length=0", "optim.batch_size=48",
    "augment.large_size=64", "augment.small_size=32",
]  # fmt: skip


def silent(_: Config) -> None: ...


@pytest.mark.parametrize(("ranks", "changes", "peak"), PEAKS)
def test_peaks_are_the_allocator_s(ranks: int, changes: dict[str, Any], peak: float) -> None:
    changes = dict(changes)
    whole = changes.pop("images", 64) * ranks
    changes["queue"] = {"length": 30 * whole, **changes.get("queue", {})}
    changes["optim"] = {"batch_size": whole, **changes.get("optim", {})}
    found = estimate(Config.from_dict(changes), ranks, silent)
    assert found.most.allocated / 2**30 == pytest.approx(peak, rel=0.03)
    assert sum(found.lasting.values()) < found.most.allocated < found.most.reserved < 1.2 * found.most.allocated


def test_precisions() -> None:
    """auto counts as what a GPU makes of it; fp64 is twice fp32."""
    small = [settings([*SMALL, f"precision={name}"]) for name in ("bf16", "auto", "fp32", "fp64")]
    bf16, auto, fp32, fp64 = (estimate(config, 1, silent).most.allocated for config in small)
    assert auto == bf16 < fp32 and 1.7 * fp32 < fp64 < 2.1 * fp32


def test_what_lasts() -> None:
    config = settings([*SMALL, "queue.length=96"])
    lasting, state = estimate(config, 2, silent).lasting, build_model(config).state_dict()
    assert lasting["weights and running statistics"] == sum(tensor.nbytes for tensor in state.values())
    assert lasting["queues"] == 2 * 96 // 2 * config.model.feature_dim * 4, "of two views, half of the rows a rank"
    assert lasting["images"] == 24 * 3 * (2 * 64**2 + 6 * 32**2) * (1 + 4), "as bytes, and as the network takes them"


def test_what_the_allocator_rounds() -> None:
    allocator = Allocator()
    small = allocator.allocate(1)
    assert (allocator.allocated, allocator.reserved) == (512, 2 * MIB), "512 bytes of a segment of small blocks"
    allocator.allocate(MIB)
    assert (allocator.allocated, allocator.reserved) == (MIB + 512, 2 * MIB)
    allocator.allocate(3 * MIB)
    assert (allocator.allocated, allocator.reserved) == (4 * MIB + 512, 22 * MIB), "cut from a segment of 20 MiB"
    allocator.allocate(11 * MIB)
    assert allocator.reserved == 22 * MIB, "and so is this"
    allocator.allocate(11 * MIB)
    assert (allocator.allocated, allocator.reserved) == (27 * MIB + 512, 34 * MIB), "one MiB is not cut off"
    allocator.release(small, 1)
    assert allocator.allocated == 27 * MIB and allocator.most.allocated == 27 * MIB + 512


def test_neighbours_become_one_again() -> None:
    allocator = Allocator()
    blocks = [allocator.allocate(6 * MIB) for _ in range(3)]
    for block in (blocks[1], blocks[0], blocks[2]):
        allocator.release(block, 6 * MIB)
    assert allocator.allocated == 0
    allocator.allocate(20 * MIB)
    assert allocator.reserved == 20 * MIB, "the whole segment"


def test_the_smallest_block_that_has_room_is_taken() -> None:
    events = [(0, 40 * MIB), (1, 30 * MIB), (0, 0), (1, 0), (2, 25 * MIB), (3, 40 * MIB)]
    assert replay(events).reserved == 70 * MIB


def test_a_full_card() -> None:
    """What is cached is given back first; what is in use is not."""
    once = [(0, 30 * MIB), (0, 0), (1, 40 * MIB)]
    assert replay(once).reserved == 70 * MIB
    assert replay(once, 45 * MIB).reserved == 40 * MIB
    with pytest.raises(OutOfMemoryError):
        replay([(0, 30 * MIB), (1, 40 * MIB)], 65 * MIB)
    with pytest.raises(OutOfMemoryError):
        replay([(0, 30 * MIB), (1, 30 * MIB), (0, 0), (2, 40 * MIB)], 65 * MIB)


def test_the_least_micro_batches_that_fit() -> None:
    tried = list[int]()
    words = [*SMALL, "optim.batch_size=8", "augment.large_size=256", "augment.small_count=0"]
    whole = estimate(settings(words), 2, silent)
    lasting = sum(whole.lasting.values())
    card = (KEPT + lasting + 0.7 * (whole.most.reserved - lasting)) / 1e9
    found = fitting(whole, card, lambda config: tried.append(config.optim.accumulate))
    assert found is not None and found.fits(card) and not whole.fits(card)
    assert found.config.optim.accumulate == tried[-1] == 2 and found.config.optim.batch_size == 8
    assert found.most.allocated < whole.most.allocated
    assert fitting(whole, (whole.most.reserved + KEPT) / 1e9, silent) is whole
    assert fitting(whole, (KEPT + 2**20) / 1e9, silent) is None


def test_a_trace_leaves_the_process_as_it_was() -> None:
    from tests.unit.test_accumulate import batch, step_of, trained
    from tests.unit.test_accumulate import settings as tiny

    random = torch.get_rng_state()
    trace(settings(SMALL), 1)
    assert torch.equal(torch.get_rng_state(), random)
    found = trained(step_of(tiny(2)), 0, batch(0))
    assert all(type(tensor) is torch.Tensor for tensor in found.values())


def test_the_answer(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*SMALL, "--gpus", "2", "--card", "24"]) == 0
    said = capsys.readouterr()
    assert "GOLANG, small, fp16: 24 of 48 images on each of 2 GPUs" in said.out
    assert "24 GB: yes" in said.out and said.out.endswith("24 GB: fits as it is\n") and "not counted" in said.out
    assert said.err == "tracing a step with optim.accumulate=1 …\n"
    assert main(["--json", *SMALL, "--card", "1.0001"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["accumulate_that_fits"] is None and answer["fits"] == {str(card): True for card in CARDS}
    assert answer["peak"] == sum(answer["bytes"].values()) <= answer["reserved"] and answer["images"] == 48


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["optim.batchsize=64"], "unknown setting optim.batchsize=64 — did you mean optim.batch_size?"),
        (["64"], "'64' is no setting; write it as in optim.batch_size=64"),
        (["optim=64"], "optim must be a group of settings, got 64"),
        (["optim=64", "optim.epochs=3"], "optim is given a value of its own"),
        (["optim.batch_size=sixty"], "optim.batch_size='sixty' must be a whole number"),
        (["optim.accumulate=0"], "optim.accumulate=0 must be at least 1"),
        (["--gpus", "3"], "does not divide by 3 ranks"),
        (["--gpus", "0"], "--gpus 0 must be at least 1"),
        (["--gpus", "2", "optim.accumulate=5"], "do not divide by optim.accumulate=5"),
        (["--card", "0"], "--card 0 must be greater than 0"),
        (["--card", "nan"], "--card nan must be greater than 0"),
        (["model.trunk=resnet5"], "model.trunk='resnet5' is not one of"),
    ],
)
def test_bad_input(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    said = capsys.readouterr()
    assert message in said.err and said.out == ""


def test_settings_from_words() -> None:
    config = settings(["optim.batch_size=64", "precision=bf16", "augment.large_scale=[0.2,1]", "deterministic=true"])
    assert config.optim.batch_size == 64 and config.precision == "bf16" and config.deterministic
    assert config.augment.large_scale == (0.2, 1)
    with pytest.raises(ConfigError, match="must be true or false"):
        settings(["deterministic=yes"])
