"""docs/figures.ipynb: it runs, shows what it showed when it was committed, and takes a sweep of one's own."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest

from golang.sources import ROOT
from tests.unit.test_report import add_run

nbformat = pytest.importorskip("nbformat")
PAGE = ROOT / "docs/figures.ipynb"


def outputs(book: Any) -> list[tuple[str, str]]:
    """What the cells say, and which kinds of pictures they show."""
    found = []
    for output in (output for cell in book.cells for output in cell.get("outputs", [])):
        data = output.get("data", {})
        found.append((output.get("text") or data.get("text/plain", ""), "image/png" if "image/png" in data else ""))
    return found


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("JUPYTER_RUNTIME_DIR", "IPYTHONDIR", "MPLCONFIGDIR"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    monkeypatch.delenv("SWEEP", raising=False)
    return tmp_path


def test_it_runs_as_it_stands(elsewhere: Path) -> None:
    client = pytest.importorskip("nbclient")
    written = nbformat.read(PAGE, as_version=4)
    book = nbformat.read(PAGE, as_version=4)
    resources = {"metadata": {"path": str(elsewhere)}}
    client.NotebookClient(book, timeout=300, kernel_name="python3", resources=resources).execute()
    assert outputs(book) == outputs(written)
    (picture,) = [
        output["data"]["image/png"]
        for cell in book.cells
        for output in cell.get("outputs", [])
        if "image/png" in output.get("data", {})
    ]
    assert base64.b64decode(picture).startswith(b"\x89PNG") and (elsewhere / "losses.pdf").stat().st_size > 5000
    assert r"0.6 & $44.3 \pm 0.2$ & 3 \\" in (elsewhere / "scores.tex").read_text()


def test_a_sweep_of_ones_own(elsewhere: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    """Here with one seed that has no score, and one that has gone further than the others."""
    pytest.importorskip("matplotlib")
    for base_lr, seed, score in ((0.1, 1, 30.0), (0.1, 2, 32.0), (0.2, 1, 40.0), (0.2, 2, None)):
        add_run(elsewhere / "own", {"optim.base_lr": base_lr, "seed": seed}, score)
    monkeypatch.setenv("SWEEP", str(elsewhere / "own"))
    monkeypatch.setenv("MPLBACKEND", "agg")
    monkeypatch.chdir(elsewhere)
    names: dict[str, Any] = {}
    for cell in nbformat.read(PAGE, as_version=4).cells:
        if cell.cell_type == "code":
            exec(compile(cell.source, str(PAGE), "exec"), names)
    assert names["curves"].groupby("optim.base_lr")["count"].max().to_dict() == {0.1: 2, 0.2: 2}
    said = capsys.readouterr().out
    assert r"0.1 & $31.0 \pm 1.4$ & 2 \\" in said and r"0.2 & $40.0$ & 1 \\" in said
