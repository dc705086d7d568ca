"""The training step on CUDA, counted: on a GPU where there is one, else on the null driver."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
import torch

from golang.memory.estimate import estimate
from tests.cuda.counts import PAGEABLE
from tests.cuda.table import CASES, FILE, figures
from tests.cuda.trace import Case, has_gpu, settings, traced

TABLE = json.loads(FILE.read_text())
SEVERAL = [case for case in CASES if case.ranks > 1]
PRECISIONS = ("fp16", "bf16", "fp32")
# A step over ranks launches at most this many times as much as one rank's.
RANKS = {"fp16": 1.45, "bf16": 1.45, "fp32": 1.5} if torch.__version__ >= "2.14" else dict.fromkeys(PRECISIONS, 1.65)


@pytest.fixture(scope="module")
def steps() -> dict[str, dict[str, Any]]:
    return {case.name: found for case, found in zip(CASES, traced(CASES), strict=True)}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_step_waits_for_nothing_and_copies_from_page_locked_memory(case: Case, steps: dict[str, Any]) -> None:
    step = steps[case.name]
    assert step["places"] == {}
    assert step["waits"] == 0
    assert [step["counts"].get(kind, 0) for kind in PAGEABLE] == [0, 0]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_step_asks_no_more_than_the_table_says(case: Case, steps: dict[str, Any]) -> None:
    """A library's call is one launch here and some kernels on a GPU, whose libraries want workspaces besides."""
    found, allowed = figures(steps[case.name]), TABLE[case.name]
    assert found["collectives"] <= allowed["collectives"]
    if has_gpu():
        assert 0.95 * allowed["peak_gib"] < found["peak_gib"] < 1.5 * allowed["peak_gib"]
        return
    if torch.__version__.startswith("2.14."):  # whose launches the table has
        assert found["launches"] <= 1.02 * allowed["launches"]
        assert found["update"] <= allowed["update"] and found["transfer"] <= allowed["transfer"]
    assert found["peak_gib"] == pytest.approx(allowed["peak_gib"], rel=0.05)


@pytest.mark.parametrize("case", SEVERAL, ids=lambda case: case.name)
def test_ranks_do_not_make_a_step_wait_for_its_host(case: Case, steps: dict[str, Any]) -> None:
    """Launches over ranks stay near those of one rank, however many ranks there are."""
    one = steps[replace(case, ranks=1, images=64).name]
    assert steps[case.name]["launches"] <= RANKS[case.precision] * one["launches"]


def test_expandable_segments_serve_a_step_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch's remedy for fragmented memory, which a person may have switched on."""
    monkeypatch.setenv("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")
    (found,) = traced([Case()])
    assert (found["waits"], found["places"]) == (0, {})
    assert found["peak"] / 2**30 == pytest.approx(TABLE[Case().name]["peak_gib"], rel=0.5 if has_gpu() else 0.05)


@pytest.mark.parametrize("method", ["golang", "swav"])
def test_launches_and_collectives_do_not_grow_with_the_ranks(method: Any, steps: dict[str, Any]) -> None:
    over = [steps[Case(method, ranks=ranks).name] for ranks in (2, 8, 64)]
    assert len({step["launches"] for step in over}) == 1
    assert len({step["counts"]["nccl"] for step in over}) == 1


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_precision_and_layout_are_as_meant(case: Case, steps: dict[str, Any]) -> None:
    """What similarities are computed from is fp32 whatever the trunk computes in, and maps lie channels last."""
    dtypes = steps[case.name]["dtypes"]
    half = {"fp16": "torch.float16", "bf16": "torch.bfloat16", "fp32": "torch.float32"}[case.precision]
    maps = steps[case.name]["channels_last"]
    assert all(maps) and bool(maps) == ("cuda_graphs" not in case.more)
    assert {dtypes["embedding"], dtypes["logits"]} == {"torch.float32"}
    if case.method == "golang":
        assert dtypes["local_features"] == half
        assert {dtypes[name] for name in ("attention", "local_embedding", "local_logits")} == {"torch.float32"}


@pytest.mark.parametrize(
    "case",
    [Case(), Case(ranks=8), Case("swav", "fp32"), Case(more={"optim.accumulate": 2})],
    ids=lambda case: case.name,
)
def test_golang_memory_says_what_the_allocator_gives(case: Case, steps: dict[str, Any]) -> None:
    if has_gpu():
        pytest.xfail("cuDNN's workspaces are not in it")
    said = estimate(settings(case), case.ranks, lambda config: None).most.allocated
    assert said == pytest.approx(steps[case.name]["peak"], rel=0.05)
