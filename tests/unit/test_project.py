"""What stands around the code: how it is set up, cited, checked and described."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from golang import __version__
from golang.sources import ROOT

PIP = ".venv/bin/python -m pip install --quiet --disable-pip-version-check"
DEFAULT = [
    "python3 -m venv .venv",
    f"{PIP} --requirement requirements.lock --constraint cuda.lock",
    f"{PIP} --no-deps --no-build-isolation --editable .",
    "touch .venv/.ready",
]
PINS = " ".join(re.findall(r"^torch(?:vision)?==\S+", (ROOT / "requirements.lock").read_text(), re.MULTILINE))


def make(folder: Path, *words: str, **around: str) -> subprocess.CompletedProcess[str]:
    """What `make` would do in a fresh checkout, or its refusal."""
    for file in ("Makefile", "requirements.lock", "cuda.lock", "pyproject.toml", "setup.py"):
        shutil.copy(ROOT / file, folder)
    own = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "PYTHON"))}
    command = ["make", "--dry-run", "--no-print-directory", *words]
    return subprocess.run(command, cwd=folder, env=own | around, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("words", "first"),
    [
        ([], None),
        (["TORCH=cuda"], None),
        (
            ["TORCH=cpu", "TORCH_INDEX=https://wheels.example.org/cpu"],
            f"{PIP} --index-url 'https://wheels.example.org/cpu' {PINS}",
        ),
    ],
)
def test_make_setup(tmp_path: Path, words: list[str], first: str | None) -> None:
    """Whatever a site's environment calls TORCH: it is typed, or the build with CUDA."""
    done = make(tmp_path, "setup", *words, TORCH="/opt/torch", TORCH_INDEX="nowhere")
    assert done.stdout.splitlines() == [DEFAULT[0], *([first] if first else []), *DEFAULT[1:]], done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["TORCH=cpu"], "TORCH=cpu needs the address .*make setup TORCH=cpu TORCH_INDEX=ADDRESS"),
        (["TORCH=rocm"], "TORCH=rocm is no build of torch; choose TORCH=cpu or TORCH=cuda"),
    ],
)
def test_make_setup_refuses(tmp_path: Path, words: list[str], said: str) -> None:
    done = make(tmp_path, "setup", *words)
    assert done.returncode == 2 and re.search(said, done.stderr) and done.stdout == ""


def test_continuous_integration_is_the_one_script() -> None:
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())
    assert set(workflow[True]) == {"push", "pull_request"}, "`on`, which YAML 1.1 takes for a yes"
    (job,) = workflow["jobs"].values()
    assert [step["run"] for step in job["steps"] if "run" in step][-1] == ".ci/run"
    assert all(re.fullmatch(r"actions/[a-z-]+@v\d+", step["uses"]) for step in job["steps"] if "uses" in step)
    assert os.access(ROOT / ".ci/run", os.X_OK) and workflow["permissions"] == {"contents": "read"}


def test_the_citation_has_what_its_format_asks_for() -> None:
    """Of the Citation File Format 1.2.0: the keys that are required, of the file and of each reference."""
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert set(cited) >= {"cff-version", "message", "title", "authors"} and cited["cff-version"] == "1.2.0"
    assert cited["version"] == __version__ and cited["type"] == "software" and cited["license"] == "MIT"
    assert all(set(one) >= {"type", "title", "authors"} for one in cited["references"])
    authors = [author for one in (cited, *cited["references"]) for author in one["authors"]]
    assert all(set(author) == {"name"} or "family-names" in author for author in authors)
    stated = set(re.findall(r"doi (10\.\S+?)\]", (ROOT / "README.md").read_text()))
    assert {one["doi"] for one in cited["references"]} == stated and len(stated) == 2


def test_the_changelog_and_the_guide_name_what_is_there() -> None:
    changes = (ROOT / "CHANGELOG.md").read_text()
    assert re.findall(r"^## \[(.*)\]", changes, re.MULTILINE)[0] in ("Unreleased", __version__)
    assert set(re.findall(r"^### (\w+)$", changes, re.MULTILINE)) <= {
        "Added", "Changed", "Deprecated", "Removed", "Fixed", "Security",
    }  # fmt: skip
    guide = (ROOT / "CONTRIBUTING.md").read_text()
    named = re.findall(r"\]\(([\w/.-]+)\)|`((?:golang|launch|tests|docs)/[\w/.]+)`", guide + changes)
    paths = {next(filter(None, pair)) for pair in named}
    assert len(paths) > 6 and {path for path in paths if not (ROOT / path).exists()} == set()
    targets = set(re.findall(r"(?:`|^    )make ([a-z-]+)", guide, re.MULTILINE))
    assert {"setup", "wheel"} < targets <= set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
