"""Reports of sweeps that are not whole: each is a whole page that says what is missing."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from golang.config import Evaluation
from golang.config.identity import run_id
from golang.runfolder.evaluations import of_run
from golang.runfolder.files import yaml_text
from golang.runfolder.folder import RunFolder
from launch.report.page import write
from launch.report.web.payload import payload
from launch.report.web.render import Live, render
from tests.browser.chromium import Tab
from tests.browser.conftest import Opening
from tests.browser.sweeps import Shape, add_run, make

SMALL = Shape(rates=(0.6, 1.2), prototypes=(300,), seeds=2, lines=20)


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    return make(tmp_path / "small", SMALL)


def folders(sweep: Path) -> list[RunFolder]:
    return [RunFolder(path) for path in sorted(sweep.glob("base_lr*"))]


def shown(sweep: Path, opening: Opening) -> tuple[Any, str]:
    write(sweep)
    tab = opening(sweep / "report/index.html")
    return tab, tab.page.inner_text("#missing") if tab.page.is_visible("#missing") else ""


def test_one_that_is_under_way(sweep: Path, opening: Opening) -> None:
    one, two, *_ = folders(sweep)
    one.done_file.unlink()
    (one.attempts / "00/cause.json").unlink()
    shutil.rmtree(two.attempts)
    two.attempts.mkdir()
    two.done_file.unlink()
    two.metrics_file.unlink()
    shutil.rmtree(two.evaluation)
    with one.hold():
        tab, missing = shown(sweep, opening)
    assert "1 run is under way" in missing and "1 run has not started" in missing
    assert "running" in tab.column("state") and "not started" in tab.column("state")
    assert tab.page.locator("#chart-line .main-svg").count() > 0


def test_one_with_damaged_folders(sweep: Path, opening: Opening) -> None:
    one, two, three, four = folders(sweep)
    one.config_file.write_text("{ no yaml")
    two.metrics_file.write_bytes(b"\xff\xfe{\n" + b'{"step": 1, "loss": "x"}\n' * 2 + b'{"step": 2, "loss": NaN')
    (three.evaluation / "linear.json").write_text('{"mAP": "NaN", "per_class": [1')
    three.attention_file.write_bytes(b"\x89PNG no picture")
    (four.attempts / "00/start.json").write_text("[]")
    (sweep / "sweep.yaml").write_text("\x00")
    tab, missing = shown(sweep, opening)
    assert "Of 4 runs something is missing or can't be read" in missing and "no sweep.yaml" in missing
    tab.page.select_option("#which", one.path.name)
    assert "config.yaml can't be read" in tab.page.inner_text("#run-body")
    assert tab.page.locator("#runs tbody tr").count() == 4
    assert "could not be read" in tab.page.inner_text("#pictures-said")


def test_one_without_metrics_and_scores(sweep: Path, opening: Opening) -> None:
    for run in folders(sweep):
        run.metrics_file.unlink()
        shutil.rmtree(run.evaluation)
    tab, missing = shown(sweep, opening)
    assert "4 runs that began have no metrics" in missing and "nothing was evaluated yet" in missing
    assert tab.texts("#chart-curve .empty") == ["No run has written metrics yet."]
    assert "no two settings" in tab.texts("#chart-parallel .empty")[0]


def test_one_of_evaluations_only(sweep: Path, opening: Opening) -> None:
    """They measure a run of another sweep, with which their results lie."""
    other = folders(sweep)[0]
    asked = replace(other.config(), evaluation=Evaluation(protocol=("knn",), root="/data"))
    (evaluation,) = of_run(asked, other.path)
    run = RunFolder(sweep.parent / "alone" / f"knn-{run_id(evaluation)}")
    for folder in (run.path, run.attempts):
        folder.mkdir(parents=True)
    run.config_file.write_text(yaml_text(evaluation.to_dict()))
    run.start_attempt(1, {}, None).write_cause("finished", 0)
    run.done_file.touch()
    tab, missing = shown(run.path.parent, opening)
    assert "1 run that began has no metrics" in missing
    assert tab.column("state") == ["finished"] and float(tab.column("mAP (knn)")[0]) > 10
    assert tab.texts("#chart-curve .empty") == ["No run has written metrics yet."]


def test_one_without_matplotlib_or_without_the_page(sweep: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert [path.name for path in write(sweep)] == ["report.md", "index.html"]
    assert "pictures need matplotlib" in (sweep / "report/report.md").read_text()
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "jinja2", None)
    made = write(sweep)
    text = (sweep / "report/report.md").read_text()
    assert "index.html" not in [path.name for path in made] and "the page needs Jinja2 and Plotly" in text


def test_one_of_a_thousand_runs(tmp_path: Path, opening: Opening) -> None:
    """As large as of 2,000 log lines: each curve has as many points as it may."""
    sweep = make(tmp_path / "large", Shape(lines=110, pictures=3))
    known = [run.metrics_file.read_bytes() for run in folders(sweep)[:3]]
    for number in range(18, 1000):
        rate = (0.3, 0.6, 1.2)[number % 3]
        run = add_run(sweep, number, rate, (300, 3000)[number % 2], 4 + number, Shape(lines=3, pictures=0))
        run.metrics_file.write_bytes(known[number % 3])
    found = payload(sweep)
    page = sweep / "page.html"
    page.write_text(render(found))
    assert len(found["runs"]) == 1000 and page.stat().st_size < 25e6
    tab = opening(page)
    tab.page.click("[data-sort=loss]")
    losses = [float(text) for text in tab.column("loss")]
    assert len(losses) == 1000 and losses == sorted(losses)
    assert "The first 60 of 1000 runs" in tab.page.inner_text("#line-said")


def test_live_it_changes_and_keeps_what_was_chosen(sweep: Path, chromium: Any) -> None:
    """A server of events beside the page, as launch watch has one."""
    before = payload(sweep)
    after = json.loads(json.dumps(before))
    after["runs"][1]["state"] = "changed"
    after["runs"][0]["loss"] = 0.125
    text = render(before, Live("t+1"))
    tab = Tab(chromium)
    page = tab.page
    tab.address = "http://127.0.0.1:8/"
    hold: list[Any] = []
    page.route(tab.address, lambda route: route.fulfill(body=text, content_type="text/html"))
    page.route("**/events?token=t%2B1", lambda route: hold.append(route))
    said = 'event: lines\ndata: {"lines": ["<b>one</b>", "two"]}\n\n'
    page.route("**/log?**", lambda route: route.fulfill(body=said, content_type="text/event-stream"))
    page.goto(tab.address)
    tab.drawn()
    page.fill("#filter", "seed")
    page.click("[data-sort=loss]")
    page.uncheck("#runs tbody tr:nth-child(1) input")
    page.select_option("#metric", "lr")
    page.evaluate("window.scrollTo({top: 600, behavior: 'instant'})")
    page.focus("[data-sort=loss]")
    stream = f"retry: 600000\nevent: update\ndata: {json.dumps(after)}\n\n"
    hold[0].fulfill(body=stream, content_type="text/event-stream")
    tab.until("document.getElementById('runs').textContent.includes('changed')")
    tab.drawn()
    assert page.evaluate("window.scrollY") == 600
    assert page.input_value("#filter") == "seed" and page.input_value("#metric") == "lr"
    assert page.evaluate("document.activeElement.dataset.sort") == "loss"
    assert tab.column("loss")[0] == "0.1250" and page.locator("#runs input:checked").count() == 3
    page.click("#run-body [data-log='0 1']")
    tab.until("document.querySelector('#follow pre')?.textContent === '<b>one</b>\\ntwo\\n'")
    asked = [line for line in tab.trouble if "asked for http://127.0.0.1:8/" in line]
    assert "rank=1" in asked[-1] and "attempt=0" in asked[-1] and "token=t%2B1" in asked[-1]
    tab.close()
