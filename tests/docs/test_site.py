"""The pages become a site, which needs nothing from elsewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from golang.sources import ROOT


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built as `make docs` does, with every warning an error."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_every_page_is_there(site: Path) -> None:
    for page in (ROOT / "docs").glob("*.md"):
        name = "index.html" if page.stem == "index" else f"{page.stem}/index.html"
        assert (site / name).is_file(), page.name
    assert not list(site.rglob("*.py"))


def test_nothing_comes_from_elsewhere(site: Path) -> None:
    """Scripts, styles, fonts and pictures; links that a reader may follow are no part of it."""
    for page in site.rglob("*.html"):
        text = page.read_text()
        fetched = re.findall(r"<(?:script|img|iframe|source)[^>]+src=\"?(\w+://[^\"\s>]+)", text)
        fetched += re.findall(r"<link[^>]+href=\"?(\w+://[^\"\s>]+)", text)
        assert fetched == [], page


def test_the_library_is_documented(site: Path) -> None:
    text = (site / "api/index.html").read_text()
    for name in ("from_dict", "own", "train_here", "Outcome", "GolangError", "RunBusyError", "NO_PROGRESS"):
        assert name in text, name
    assert "an existing run is continued" in text, "what its docstring says"
