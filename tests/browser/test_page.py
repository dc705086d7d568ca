"""The page of 18 runs: charts, table, choice, light and dark, narrow, on paper."""

from __future__ import annotations

import csv
import io
import itertools
from pathlib import Path
from typing import Any

import pytest

from tests.browser.chromium import Tab
from tests.browser.conftest import Opening

CHARTS = ("curve", "parallel", "line", "spent", "waits", "parting", "classes")
CURVES = "document.querySelector('#chart-curve .plot').data.filter((trace) => trace.showlegend).length"


@pytest.fixture
def tab(opening: Opening, page_file: Path) -> Tab:
    return opening(page_file)


def colours(page: Any) -> list[str]:
    return page.evaluate("[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]")


def variation(values: list[float]) -> float:
    """How much the second half goes up and down."""
    late = values[len(values) // 2 :]
    return sum(abs(after - before) for before, after in itertools.pairwise(late))


def test_it_is_small_and_private(page_file: Path) -> None:
    assert page_file.stat().st_size < 6e6
    assert page_file.stat().st_mode & 0o777 == 0o600


def test_every_chart_is_drawn_and_told(tab: Tab) -> None:
    page = tab.page
    page.locator("#all-metrics > summary").click()
    page.wait_for_selector("#chart-metrics .plot")
    tab.drawn()
    charts = [*(f"#chart-{name}" for name in CHARTS), "#effect-0", "#effect-1", "#metric-0", "#metric-12"]
    for chart in charts:
        drawn = page.evaluate(
            f"document.querySelectorAll('{chart} .main-svg :is(.trace path, .point path, .points path)').length"
        )
        assert drawn > 0, chart
        assert len(page.get_attribute(f"{chart} .plot", "aria-label")) > 10, chart
    assert tab.texts(".empty") == []
    assert page.locator("#chart-metrics .plot").count() == len(page.locator("#metric option").all()) - 2  # but ln K
    page.locator("#chart-spent summary").click()
    assert tab.texts("#chart-spent tbody tr td:first-child")[0] == "useful steps"
    assert page.locator("#gallery img").count() == 4
    page.evaluate("Promise.all([...document.images].map((one) => ((one.loading = 'eager'), one.decode())))")
    assert page.evaluate("[...document.images].every((one) => one.naturalWidth > 0)")
    left = page.locator("#metric option").all_text_contents()
    assert "loss_local" in left and "step" not in left and "time" not in left


def test_what_the_sweep_is(tab: Tab) -> None:
    facts = tab.page.inner_text("#facts")
    assert "golang train optim.base_lr=0.3,0.6,1.2" in facts and "3f9c2a71 (18 runs)" in facts and "A100" in facts
    assert "secret" not in Path(tab.address.removeprefix("file://")).read_text(), "the line that tells of ends"
    assert "18 runs: 16 finished" in tab.page.inner_text("#states")
    assert "300 equal parts" in tab.page.inner_text("#rules") and "highest value stay" in tab.page.inner_text("#rules")


def test_sorting_by_mouse_and_by_keyboard(tab: Tab) -> None:
    page = tab.page
    page.click("[data-sort=loss]")
    losses = [float(text) for text in tab.column("loss")]
    assert losses == sorted(losses) and len(losses) == 18
    assert page.get_attribute("th:has([data-sort=loss])", "aria-sort") == "ascending"
    page.focus("[data-sort=loss]")
    page.keyboard.press("Enter")
    assert [float(text) for text in tab.column("loss")] == losses[::-1]
    assert page.get_attribute("th:has([data-sort=loss])", "aria-sort") == "descending"
    assert page.evaluate("document.activeElement.dataset.sort") == "loss", "the focus stays"
    page.click("[data-sort='optim.base_lr']")
    assert tab.column("optim.base_lr") == ["0.3"] * 6 + ["0.6"] * 6 + ["1.2"] * 6
    page.click("[data-sort='mAP knn']")
    assert tab.column("mAP (knn)")[-2:] == ["–", "–"], "what is missing comes last, also from above"
    page.click("[data-sort='mAP knn']")
    assert tab.column("mAP (knn)")[-2:] == ["–", "–"]


def test_filtering_and_columns_and_csv(tab: Tab) -> None:
    page = tab.page
    page.fill("#filter", "seed=1 base_lr>0.5")
    tab.until("document.querySelectorAll('#runs tbody tr').length === 4")
    assert set(tab.column("seed")) == {"1"} and set(tab.column("optim.base_lr")) == {"0.6", "1.2"}
    assert "4 of 18 runs pass the filter" in page.inner_text("#count")
    page.fill("#filter", "PROTOTYPES=3000 lost")
    tab.until("document.querySelectorAll('#runs tbody tr').length < 2")
    page.fill("#filter", "")
    page.select_option("#state", "bug")
    tab.until("document.querySelectorAll('#runs tbody tr').length === 1")
    page.select_option("#state", "")
    page.click("#columns summary")
    page.uncheck("[data-column='mAP linear']")
    page.check("[data-column=code]")
    heads = [head.rstrip("▲▼") for head in tab.texts("#runs thead th")][1:]
    assert "mAP (linear)" not in heads and "code" in heads
    page.click("#columns summary")
    page.click("#copy")
    page.evaluate("document.body.append(Object.assign(document.createElement('textarea'), {id: 'paste'}))")
    page.focus("#paste")
    page.keyboard.press("Control+v")
    rows = list(csv.DictReader(io.StringIO(page.input_value("#paste"))))
    assert list(rows[0]) == heads and len(rows) == 18
    assert [float(row["mAP (knn)"]) for row in rows[:16]] == sorted(
        (float(row["mAP (knn)"]) for row in rows[:16]), reverse=True
    )


def test_choosing_runs_and_how_they_are_drawn(tab: Tab) -> None:
    page = tab.page
    assert page.evaluate(CURVES) == 5
    page.uncheck("#runs tbody tr:nth-child(1) input")
    page.check("#runs tbody tr:nth-child(9) input")
    page.check("#runs tbody tr:nth-child(10) input")
    tab.until(f"{CURVES} === 6")
    page.select_option("#metric", "lr")
    page.select_option("#over", "time")
    tab.until("document.querySelector('#chart-curve .plot').layout.xaxis.title.text.startsWith('hours')")
    tab.drawn()
    tops = page.evaluate("document.querySelector('#chart-curve .plot').data.map((trace) => trace.x[0])")
    assert min(tops) == 0
    page.select_option("#metric", "loss")
    page.evaluate("const s = document.getElementById('smooth'); s.value = 0.9; s.dispatchEvent(new Event('input'))")
    tab.until("document.querySelector('#chart-curve .plot').data.some((trace) => trace.opacity === 0.25)")
    assert page.inner_text("#smooth-said") == "0.90"
    tab.drawn()
    traces = page.evaluate("document.querySelector('#chart-curve .plot').data")
    rough, smooth = [trace["y"] for trace in traces if trace["mode"] == "lines"][:2]
    assert variation(smooth) < variation(rough) / 3
    marks = [text for trace in traces if trace["mode"] == "markers" for text in trace["text"]]
    assert any("attempt 1 begins, after: preempted" in mark for mark in marks)
    page.click("#choosing summary")
    page.click("[data-choose=none]")
    page.wait_for_selector("#chart-curve .empty")


def test_a_run_and_two_runs(tab: Tab) -> None:
    page = tab.page
    name = tab.column("run")[3]
    page.click("#runs tbody tr:nth-child(4) button[data-open]")
    body = page.inner_text("#run-body")
    assert name in body and "/metrics.jsonl" in body and "rank3.log" in body and "Its neighbours" in body
    broken = page.locator("#which option").nth(17).get_attribute("value")
    page.select_option("#which", broken)
    assert "killed, or its node was lost" in page.inner_text("#run-body")
    assert "the queue holds 3,840" in page.evaluate("document.getElementById('data').textContent")
    assert "seed" in page.inner_text("#differences")
    assert "The losses differ from step 10 on" in page.inner_text("#parting")
    assert "of 20" in page.inner_text("#classes-said")
    page.select_option("#first", name)
    page.select_option("#evaluation", "linear")
    tab.until("document.querySelector('#chart-classes .plot').layout.xaxis.title.text.includes('linear')")
    tab.drawn()
    assert page.evaluate("document.querySelector('#chart-classes .plot').data.map((trace) => trace.x.length)") == [
        20,
        20,
    ]


def test_light_and_dark_by_the_system_and_by_the_switch(opening: Opening, page_file: Path) -> None:
    tab = opening(page_file, color_scheme="dark")
    page = tab.page
    assert colours(page)[0] == "rgb(20, 24, 31)"
    assert page.evaluate("document.querySelector('#chart-curve .plot')._fullLayout.font.color") == "#e4e8ef"
    page.click("#theme")
    tab.drawn()
    assert colours(page) == ["rgb(255, 255, 255)", "rgb(29, 36, 48)"]
    tab.until("document.querySelector('#chart-curve .plot')._fullLayout.font.color === '#1d2430'")
    assert page.inner_text("#theme") == "Dark"


def test_narrow_and_on_paper(opening: Opening, page_file: Path) -> None:
    tab = opening(page_file, width=390)
    page = tab.page
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert (
        page.evaluate(
            "Math.max(...[...document.querySelectorAll('.plot')].map((one) => one.getBoundingClientRect().right))"
        )
        <= 390
    )
    assert page.locator("#runs tbody tr").count() == 18
    page.emulate_media(media="print")
    assert not page.is_visible("nav") and not page.is_visible("#filter") and page.is_visible("#runs")


def test_names_of_what_is_used_by_keyboard_and_ear(tab: Tab) -> None:
    page = tab.page
    nameless = page.evaluate(
        "[...document.querySelectorAll('button, input, select, textarea')].filter((one) => !one.textContent.trim()"
        " && !one.getAttribute('aria-label') && !one.labels?.length).map((one) => one.outerHTML)"
    )
    assert nameless == []
    assert page.evaluate("[...document.querySelectorAll('img')].every((one) => one.alt)")
    ids = page.evaluate("[...document.querySelectorAll('[id]:not(.plot *)')].map((one) => one.id)")
    assert len(ids) == len(set(ids)) > 50
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Tab")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
