"""`launch compare` on real run folders whose differences are known."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from golang.config import Config
from golang.runfolder.folder import RunFolder
from launch.__main__ import main
from launch.report.compare import CompareError, compared
from tests.unit.test_report import add_run, rewrite

ESCAPE = "\x1b[31mred"


def curve(run: RunFolder, losses: dict[int, float]) -> None:
    run.metrics_file.write_text("".join(json.dumps({"step": s, "loss": loss}) + "\n" for s, loss in losses.items()))


@pytest.fixture
def pair(tmp_path: Path) -> tuple[RunFolder, RunFolder]:
    one = add_run(tmp_path / "s", {"optim.base_lr": 0.6, "data.workers": 2}, 30.0)
    other = add_run(tmp_path / "s", {"optim.base_lr": 0.3, "data.workers": 4}, 31.0)
    curve(one, {10: 4.0, 20: 3.0, 30: 2.5, 40: 2.0})
    curve(other, {10: 4.0, 20: 3.0, 35: 2.0, 30: 2.25, 40: 1.5, 50: 1.0})
    classes = {"cat": 10.0, "dog": 50.0, "same": 5.0}
    rewrite(one.path / "evaluation/linear.json", per_class=classes)
    moved = {"cat": 40.0, "dog": 45.5, "same": 5.0, f"new {ESCAPE}": 1.0}
    rewrite(other.path / "evaluation/linear.json", per_class=moved)
    rewrite(one.attempts / "00/start.json", versions={"torch": "2.11", "python": "3.11"})
    rewrite(one.attempts / "01/start.json", versions={"torch": "2.12", "python": "3.11"})
    for attempt in ("00", "01"):
        rewrite(other.attempts / attempt / "start.json", versions={"torch": "2.12", "python": "3.11"})
    rewrite(one.overrides_file, code="aaaa")
    rewrite(other.overrides_file, code="bbbb")
    return one, other


def test_what_differs(pair: tuple[RunFolder, RunFolder]) -> None:
    found = compared(*(run.path for run in pair))
    assert [(one.kind, one.key, one.one, one.other, one.counts) for one in found.differences] == [
        ("setting", "optim.base_lr", "0.6", "0.3", True),
        ("setting", "data.workers", "2", "4", False),
        ("code", "snapshot", "aaaa", "bbbb", True),
        ("version", "torch", "2.11, then 2.12", "2.12", True),
    ]
    parting = found.parting
    assert parting and (parting.steps, parting.before, parting.at, parting.end) == (4, 20, 30, 40)
    assert (parting.first, parting.last) == ((2.5, 2.25), (2.0, 1.5))
    assert [(score.evaluation, score.moved) for score in found.scores] == [("linear", 1.0)]
    assert [(score.label, score.moved) for score in found.classes] == [("cat", 30.0), ("dog", -4.5)]
    assert found.missing == ("linear: 1 classes were measured in one of the runs only",)


def test_the_table_at_80_columns(
    pair: tuple[RunFolder, RunFolder], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    one, other = pair
    rewrite(one.path / "evaluation/linear.json", per_class={"cat": 1.0, f"dog [bold]{ESCAPE}": 50.0})
    rewrite(other.path / "evaluation/linear.json", per_class={"cat": 1.0, f"dog [bold]{ESCAPE}": 45.5})
    assert main(["compare", str(one.path), str(other.path)]) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80 and "\x1b" not in out
    assert "dog [bold]\\x1b[31mred" in out and "-4.5" in out
    said = " ".join(out.split())
    assert "Settings A B optim.base_lr 0.6 0.3 Settings that change no result A B data.workers 2 4" in said
    assert "the same up to step 20; first differs at step 30: A 2.5, B 2.25; at step 40" in said
    assert "B 1.5000: -0.5000" in said and "The same in both: data" in said


def test_the_same_curve_and_none(pair: tuple[RunFolder, RunFolder], tmp_path: Path) -> None:
    one, other = pair
    curve(one, {10: float("nan"), 20: 1.0})
    curve(other, {10: float("nan"), 20: 1.0, 30: 0.5})
    parting = compared(one.path, other.path).parting
    assert parting and (parting.at, parting.steps, parting.end) == (None, 2, 20)
    fresh = RunFolder.create(tmp_path / "s/fresh-3c3c3c3c", Config())
    found = compared(one.path, fresh.path)
    assert found.parting is None and found.missing == (
        "no logged step has a loss in both runs, so their curves can't be compared",
        "no evaluation was made of both runs",
    )
    with pytest.raises(CompareError, match="is named twice; name two runs"):
        compared(one.path, one.path)


def test_a_run_of_before_and_a_damaged_one(pair: tuple[RunFolder, RunFolder]) -> None:
    """A setting that came later has its default; of settings that can't be read none is said to differ."""
    one, other = pair
    settings = json.loads(one.config_file.read_text())
    del settings["optim"]["momentum"], settings["data"]["stage"]
    one.config_file.write_text(json.dumps(settings))
    kinds = {"code", "version", "setting"}
    found = compared(one.path, other.path)
    assert {one.kind for one in found.differences} == kinds and len(found.differences) == 4
    other.config_file.write_text("{")
    found = compared(one.path, other.path)
    assert [one.key for one in found.differences if one.kind == "setting"] == ["optim.base_lr"]
    assert f"{other.path.name}: config.yaml can't be read" in found.missing
