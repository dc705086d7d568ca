"""The layout that docs/architecture.md describes: small files in small folders, and no torch where nothing computes."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from golang.sources import ROOT

PACKAGES = [ROOT / "golang", ROOT / "launch"]
MODULES = sorted(path for package in PACKAGES for path in package.rglob("*.py"))
FOLDERS = sorted({path.parent for path in MODULES})


def test_no_file_is_long_and_no_folder_full() -> None:
    assert len(MODULES) > 100
    files = [*MODULES, *(path for room in ("launch", "tests", "benchmarks") for path in (ROOT / room).rglob("*.*"))]
    files = [path for path in files if path.suffix in (".py", ".sh", ".cpp", ".h")]
    assert {str(path): lines for path in files if (lines := len(path.read_text().splitlines())) > 300} == {}
    counts = {str(folder): sum(path.is_file() for path in folder.iterdir()) for folder in FOLDERS}
    assert {folder: count for folder, count in counts.items() if count > 12} == {}


def test_a_package_is_opened_by_its_docstring() -> None:
    empty = [str(folder) for folder in FOLDERS if not (folder / "__init__.py").read_text().startswith('"""')]
    assert empty == []


def test_the_page_names_what_is_there() -> None:
    page = (ROOT / "docs/architecture.md").read_text()
    walks = page.partition("## Five walks")[2]
    names = set(re.findall(r"`([\w/]+\.(?:py|sh|md)|(?:golang|launch|tests|configs)/[\w/]+/)`", walks))
    there = [f"/{path.relative_to(ROOT)}{'/' * path.is_dir()}" for path in ROOT.rglob("*") if ".venv" not in path.parts]
    assert len(names) > 40
    assert {name for name in names if not any(path.endswith(f"/{name}") for path in there)} == set()
    tree = {line.split()[0] for line in page.partition("## Who")[0].splitlines() if line.startswith("      ")}
    folders = {f"{path.name}/" for path in FOLDERS if path not in PACKAGES}
    assert {name for name in tree if name.endswith("/")} | {"__pycache__/"} >= folders


@pytest.mark.parametrize(
    "room",
    [
        "golang.config",
        "golang.runfolder",
        "golang.records",
        "golang.world",
        "golang.exits",
        "golang.tracking",
        "golang.data.readers",
        "golang.data.sets",
        "golang.data.check",
        "golang.data.packed",
        "launch",
    ],
)
def test_starts_without_torch(room: str, tmp_path: Path) -> None:
    """Every module of the room is imported in one new process, all but `__main__`s with nothing but their start."""
    names = [name for path in MODULES if _within(name := _name(path), room) and not name.endswith("__main__")]
    assert names
    code = f"import importlib, sys\nfor name in {names}: importlib.import_module(name)\nprint('torch' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert found.stdout.strip() == "False", found.stderr


@pytest.mark.parametrize("command", ["golang.tracking", "launch"])
def test_commands_start_without_torch(command: str) -> None:
    code = f"import importlib, sys; importlib.import_module('{command}.__main__'); print('torch' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert found.stdout.strip() == "False", found.stderr


def _name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _within(name: str, room: str) -> bool:
    return name == room or name.startswith(room + ".")
