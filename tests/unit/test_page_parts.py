"""What the page of a report is made of: thinned curves, costs, pictures, JSON that is no markup."""

from __future__ import annotations

import base64
import json
import zlib
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from golang.records.table import own_folders
from golang.runfolder import files
from golang.runfolder.folder import RunFolder
from launch.report.outcome import RunOutcome, Span
from launch.report.web import curves, pictures, reading
from launch.report.web.costs import costs
from launch.report.web.render import as_json, digest, render
from launch.sweep import ledger
from tests.browser.sweeps import Shape, make


def unpacked(found: curves.Curves) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(zlib.decompress(base64.b64decode(found.packed)))
    for key in ("step", "time"):
        content[key] = np.cumsum(content[key]).tolist()
    content["metrics"] = {
        name: (np.cumsum(lines).tolist(), values) for name, (lines, values) in content["metrics"].items()
    }
    return content


def test_thinning_keeps_every_extreme() -> None:
    chance = np.random.default_rng(0)
    values = chance.normal(size=(3, 2003))
    values[0, 777], values[1, 1500], values[2, :300] = 1e6, -1e6, np.nan
    picked = curves.thin(values, 100)
    for row, own in zip(values, picked, strict=True):
        assert len(own) <= 102 and (np.diff(own) > 0).all() and np.isfinite(row[own]).all()
        assert np.nanmax(row) in row[own] and np.nanmin(row) in row[own]
    assert picked[0][0] == 0 and picked[0][-1] == 2002 and picked[2][0] >= 300
    width = -(-2003 // 50)
    for begin in range(0, 2003, width):  # of each part the lowest and the highest
        part = values[0, begin : begin + width]
        assert {begin + part.argmin(), begin + part.argmax()} <= set(picked[0])
    few = curves.thin(np.array([[1.0, np.nan, 3.0]]), 100)
    assert few[0].tolist() == [0, 2]


def test_a_packed_run_says_what_its_lines_said() -> None:
    lines = [
        {"step": 10 * n, "time": f"2026-01-01T00:00:{n:02d}+0000", "attempt": n // 4, "loss": 1.234567 / n, "lr": 0.1,
         "big": 123456789.0 * n, "odd": "text", "yes": True, "none": float("nan")}
        for n in range(1, 9)
    ]  # fmt: skip
    lines[3]["late"] = 5
    found = curves.pack(lines, 100)
    assert found.metrics == ("big", "late", "loss", "lr") and found.lines == 8
    content = unpacked(found)
    assert content["step"] == [line["step"] for line in lines] and content["attempts"] == [[0, 0], [3, 1], [7, 2]]
    assert content["time"][-1] - content["time"][0] == 7
    assert content["metrics"]["late"] == ([3], [5.0])
    assert content["metrics"]["loss"][1] == pytest.approx([line["loss"] for line in lines], rel=1e-4)
    assert content["metrics"]["loss"][1][0] == 1.2346 and content["metrics"]["big"][1][0] == 123460000.0
    assert unpacked(curves.pack([], 100))["metrics"] == {}


def test_times_are_those_of_the_lines() -> None:
    stamps = ["2026-01-01T00:00:10+0000", "2026-01-01T00:01:00+0000", "2026-01-01T02:01:01+0200", "no time", None]
    for found in (curves._seconds(stamps[:2]), curves._seconds(stamps)):
        assert [second - found[0] for second in found] == [0, 50, 51, 51, 51][: len(found)]
    assert curves._seconds(["", ""]) == [0, 0] and curves._seconds([None]) == [0]


def test_more_runs_have_fewer_points_each_and_the_page_says_how_many() -> None:
    points = [curves.points_of(runs) for runs in (1, 18, 100, 300, 1000, 10**6)]
    assert points == sorted(points, reverse=True) and points[0] == curves.MOST and points[-1] == curves.FEWEST
    assert all(one % 2 == 0 for one in points)
    assert "more than 104 log lines" in curves.rule(104) and "52 equal parts" in curves.rule(104)


def test_a_run_that_stays_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep = make(tmp_path / "s", Shape(rates=(0.6,), prototypes=(300,), seeds=2, lines=8))
    kept: reading.Kept = {}
    first, points = reading.read(sweep, kept)
    assert points == curves.MOST and [one.code for one in first] == ["3f9c2a71"] * 2
    assert first[0].versions["torch"] == "2.11.0" and first[0].logs[3] == {"attempt": 0, "rank": 3, "bytes": 340}
    monkeypatch.setattr(reading, "_read", lambda *arguments: pytest.fail("read again"))
    assert reading.read(sweep, kept)[0] == first
    monkeypatch.undo()
    run = first[1].outcome.folder
    run.metrics_file.write_text("")
    changed, _ = reading.read(sweep, kept)
    assert [one.curves.lines for one in changed] == [8, 0] and changed[0] is first[0]
    cause = run.attempts / "01/cause.json"
    files.write(cause, json.dumps({"cause": "hang", "step": 1}))
    assert reading.read(sweep, kept)[0][1].outcome.attempts[-1].cause == "hang"


def test_many_runs_are_read_by_other_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep = make(tmp_path / "s", Shape(rates=(0.6,), prototypes=(300,), seeds=70, lines=1))
    found = reading._read_together(*asked(sweep))
    assert len(found) == 70 > reading._POOL

    def broken(*arguments: object, **options: object) -> None:
        raise BrokenProcessPool("it can't be started")

    monkeypatch.setattr(reading, "ProcessPoolExecutor", broken)
    assert reading._read_together(*asked(sweep)) == found
    assert [one.outcome for one in reading.read(sweep, {})[0]] == [one.outcome for one in found]


def asked(sweep: Path) -> tuple[list[Path], list[list[dict[str, Any]]], list[int]]:
    """Of every run, with its line of the ledger."""
    folders = own_folders(sweep)
    return folders, [[line for line in ledger.read(sweep) if line["folder"] == one.name] for one in folders], [600] * 70


def span(number: int, began: float, ended: float, resumed: int, reached: int, cause: str) -> Span:
    return Span(number, began, ended, 2, "n", resumed, reached, 40, cause, None, in_place=False)


def test_costs_are_waits_steps_again_and_the_rest() -> None:
    attempts = (
        span(0, 100, 150, 0, 30, "node lost"),
        span(1, 200, 240, 20, 35, "preempted"),
        span(2, 500, 540, 35, 40, "finished"),
    )
    run = RunOutcome(
        Path("x"),
        "finished",
        {},
        (),
        {},
        {},
        None,
        40,
        40,
        160.0,
        attempts,
        (),
        submitted=(40.0, 300.0),
        failures=(),
        pictures={},
    )
    found = costs(run)
    assert found.waits == (60.0, 50.0, 200.0)  # before the third somebody submitted it anew
    assert found.steps_again == {"node lost": 10}
    assert found.again == {"node lost": pytest.approx(10 * 160 / 40)}
    assert found.rest == pytest.approx(run.total_seconds - 160 - 40)
    near = replace(run, attempts=(attempts[0], replace(attempts[1], in_place=True)))
    assert costs(near).waits == (60.0, 0.0)
    none = costs(replace(run, attempts=(), step=0, useful=0.0))
    assert none.waits == () and none.rest == 0


def test_pictures_are_made_small_and_what_is_left_out_is_said(tmp_path: Path) -> None:
    for number in range(pictures.RUNS + 2):
        run = RunFolder(tmp_path / f"{number}")
        (run.evaluation / "knn").mkdir(parents=True)
        Image.effect_noise((2000, 800), 90).save(run.evaluation / "knn/detections-best.png")
        Image.new("RGBA", (30, 20)).save(run.attention_file)
    (tmp_path / "0/evaluation/knn/z.png").write_bytes(b"no picture")
    (tmp_path / "1/evaluation/link.png").symlink_to(run.attention_file)
    found = pictures.pictures([tmp_path / "none", *sorted(tmp_path.iterdir())])
    assert found.shown[0]["name"] == "attention" and found.shown[1]["width"] == pictures.WIDEST
    assert sum(len(one["source"]) for one in found.shown) < 1.4 * pictures.TOGETHER
    assert len(found.shown) + found.left == 2 * (pictures.RUNS + 2) and found.left >= 4
    assert "1 could not be read: 0: knn/z" in found.told() and f"{found.left} more lie" in found.told()


def test_json_in_a_page_is_no_markup() -> None:
    text = as_json({"</script>": "<!-- & \u2028\u2029 \ud800"})
    assert not set("<>&\u2028\u2029") & set(text) and json.loads(text)["</script>"].startswith("<!-- &")
    with pytest.raises(ValueError):
        as_json(float("nan"))


def test_the_scripts_are_those_that_the_policy_names() -> None:
    text = render({"sweep": {"name": "<x>"}})
    script = text[text.rindex("<script>") + len("<script>") : text.rindex("</script>")]
    assert f"'{digest(script)}'" in text and "<title>&lt;x&gt;</title>" in text
    assert "eval(" not in script and "innerHTML" not in script and "http" not in script
