"""Steps are a function of their number: whoever asks, from wherever, with however many ranks."""

from __future__ import annotations

import pytest

from golang.data.sampler import StepSampler
from golang.errors import ConfigError


def steps(**changes) -> list[list[tuple[int, int]]]:
    settings = {"size": 50, "batch_size": 8, "total_steps": 20, "seed": 31, **changes}
    return list(StepSampler(**settings))


def test_every_epoch_has_its_own_order_and_drops_the_rest() -> None:
    sampler = StepSampler(50, 8, 20, 31)
    assert sampler.steps_per_epoch == 6 and len(sampler) == 20
    batches = list(sampler)
    assert len(batches) == 20 and all(len(batch) == 8 for batch in batches)
    epochs = [[pair for batch in batches[e * 6 : (e + 1) * 6] for pair in batch] for e in range(3)]
    for epoch, pairs in enumerate(epochs):
        assert {e for e, _ in pairs} == {epoch}
        indices = [index for _, index in pairs]
        assert len(set(indices)) == 48 and set(indices) <= set(range(50))
    assert [i for _, i in epochs[0]] != [i for _, i in epochs[1]]
    assert steps(seed=32) != batches


@pytest.mark.parametrize("world", [1, 2, 4])
def test_any_world_size_sees_the_same_global_batches(world: int) -> None:
    ranks = [steps(rank=rank, world=world) for rank in range(world)]
    joined = [[pair for share in shares for pair in share] for shares in zip(*ranks, strict=True)]
    assert joined == steps()


@pytest.mark.parametrize("start", [0, 1, 5, 6, 7, 12, 19, 20, 25])
def test_a_start_step_continues_exactly(start: int) -> None:
    assert steps(start_step=start) == steps()[start:]
    assert steps(start_step=start, rank=1, world=2) == steps(rank=1, world=2)[start:]
    assert len(StepSampler(50, 8, 20, 31, start_step=start)) == max(0, 20 - start)


def test_two_iterations_are_equal() -> None:
    sampler = StepSampler(50, 8, 20, 31)
    assert list(sampler) == list(sampler)


def test_a_set_of_one_batch() -> None:
    assert [{index for _, index in batch} for batch in steps(size=8, total_steps=3)] == [set(range(8))] * 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": 7}, "batch_size=8 is more than the 7 images"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"world": 3}, "cannot be shared equally by 3"),
        ({"rank": 2, "world": 2}, "rank 2"),
    ],
)
def test_impossible_settings(changes: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        steps(**changes)
