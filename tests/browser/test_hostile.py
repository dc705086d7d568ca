"""What runs, their settings, their last words and their classes are called is shown as text, whatever it is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from golang.runfolder.folder import RunFolder
from launch.report.page import write
from tests.browser.conftest import Opening
from tests.browser.sweeps import Shape, make

BREAKS = "</script><script>window.hit=1</script><img src=x onerror=window.hit=1>"
NASTY = (
    BREAKS,
    "\"'><svg onload=window.hit=1>",
    "<b>bold</b><a href=\"javascript:window.hit=1\">%{y} $x^2$ {{ 7 * 7 }} &lt;i&gt; &amp;amp;",
    "\u202egnp.exe\u2066 עברית \u2028\u2029 \x1b[31m \ud83d\ude00",
    "<" * 10_000,
    "=HYPERLINK(\"http://example.org\")",
)  # fmt: skip
NAME = "x=<img src=x onerror=window.hit=1>\"'&amp;-0123abcd"


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six runs, of which each is called one thing, and one folder too."""
    shape = Shape(rates=(0.6, 1.2), prototypes=(300,), lines=30, classes=NASTY)
    sweep = make(tmp_path_factory.mktemp("hostile") / "a<script>window.hit=1<", shape)
    folders = sorted(path for path in sweep.iterdir() if path.is_dir())
    folders[0] = folders[0].rename(sweep / NAME)
    for folder, text in zip(folders, NASTY, strict=True):
        run = RunFolder(folder)
        config = json.loads(run.config_file.read_text()) | {"name": text, text: text, "seed": text}
        run.config_file.write_text(json.dumps(config))
        run.overrides_file.write_text(json.dumps({"overrides": [f"name={text}", f"seed={text}"], "code": text}))
        cause = {"cause": text, "step": 10, "at": "never", "message": text}
        (run.attempts / "00/cause.json").write_text(json.dumps(cause))
        start = json.loads((run.attempts / "00/start.json").read_text())
        (run.attempts / "00/start.json").write_text(json.dumps(start | {"host": text, "versions": {text: text}}))
        lines = [json.loads(line) | {text: 1.0} for line in run.metrics_file.read_text().splitlines()]
        run.metrics_file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    (sweep / "sweep.yaml").write_text(json.dumps({"command": list(NASTY), "cwd": BREAKS, "typed": BREAKS}))
    write(sweep)
    return sweep


def test_it_is_text_everywhere(sweep: Path, opening: Opening) -> None:
    tab = opening(sweep / "report/index.html")
    page = tab.page
    page.click("#all-metrics > summary")
    page.click("#columns summary")
    while page.locator("#column-list input:not(:checked)").count():
        page.locator("#column-list input:not(:checked)").first.check()
    for details in page.locator(".numbers").all():
        details.evaluate("(one) => (one.open = true)")
    for place in range(6):
        for select in ("which", "second"):
            page.select_option(f"#{select}", index=place)
        tab.drawn()
    assert page.evaluate("window.hit") is None
    assert (
        page.locator("svg[onload], img[src=x], a[href^=javascript], td b, script:not([type]):not([src])").count() == 2
    )
    assert page.locator("#runs tbody tr").count() == 6
    words = page.inner_text("body")
    assert NAME in page.evaluate("document.getElementById('runs').textContent")
    assert BREAKS in words and "{{ 7 * 7 }}" in words and "49 " not in page.inner_text("#facts")
    assert page.title() == "a<script>window.hit=1<: report"
    assert page.evaluate("document.documentElement.scrollWidth") <= 1280, "10 kB in one word"
    drawn = page.evaluate("[...document.querySelectorAll('.main-svg text')].map((one) => one.textContent).join(' ')")
    assert "window.hit" in drawn and "\u202e" not in drawn


def test_nothing_else_runs_and_nothing_goes_out(sweep: Path, opening: Opening) -> None:
    tab = opening(sweep / "report/index.html")
    policy = tab.page.get_attribute("meta[http-equiv=Content-Security-Policy]", "content")
    assert (
        "default-src 'none'" in policy
        and "connect-src 'none'" in policy
        and "unsafe-inline" not in policy.split("style-src")[0]
    )
    tab.page.evaluate("""() => {
      const made = document.createElement("script");
      made.textContent = "window.hit = 1";
      document.body.append(made);
      document.body.insertAdjacentHTML("beforeend", "<p onclick='window.hit=1' id=victim>x</p>");
      document.getElementById("victim").click();
    }""")
    assert tab.page.evaluate("window.hit") is None
    said = tab.page.evaluate("fetch('http://127.0.0.1:9/').then(() => 'went', () => 'refused')")
    assert said == "refused"
    assert len(tab.trouble) >= 3 and all(
        "Content Security Policy" in line or "Fetch API" in line for line in tab.trouble
    )
    tab.trouble.clear()


def test_a_cell_is_no_formula(sweep: Path, opening: Opening) -> None:
    tab = opening(sweep / "report/index.html")
    tab.page.click("#copy")
    tab.page.evaluate("document.body.append(Object.assign(document.createElement('textarea'), {id: 'paste'}))")
    tab.page.focus("#paste")
    tab.page.keyboard.press("Control+v")
    text = tab.page.input_value("#paste")
    assert "'=HYPERLINK" in text and ",=HYPERLINK" not in text and ',"=HYPERLINK' not in text
