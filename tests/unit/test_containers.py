"""The recipes in containers/, as far as they can be tried without a container engine."""

from __future__ import annotations

import fnmatch
import re
import shlex
import subprocess
from pathlib import Path

import pytest
from pip._vendor import tomli

from golang.sources import ROOT
from launch.planning.app import main
from tests.unit import package

DOCKER = (ROOT / "containers/Dockerfile").read_text()
APPTAINER = (ROOT / "containers/golang.def").read_text()
PAGE = (ROOT / "docs/containers.md").read_text()


def instructions(name: str) -> list[str]:
    """What stands behind an instruction of the Dockerfile."""
    return re.findall(rf"^{name} (.*)$", DOCKER, re.MULTILINE)


def section(name: str) -> list[str]:
    """Lines of a section of the definition file."""
    (body,) = re.findall(rf"^%{name}\n((?: +.*\n|\n)*)", APPTAINER, re.MULTILINE)
    return [line.strip() for line in body.splitlines() if line.strip()]


def copied() -> set[str]:
    """What the Dockerfile takes from the repository."""
    return {source for line in instructions("COPY") for source in line.split()[:-1]}


def test_both_recipes_take_the_same_and_it_is_there() -> None:
    taken = [line.split() for line in section("files")]
    assert {source for source, _ in taken} == copied()
    assert all(target == f"/opt/golang/{source}" for source, target in taken)
    assert [line for line in instructions("COPY") if line.split()[0] == line.split()[-1]] == [
        "configs configs", "golang golang", "launch launch",
    ]  # fmt: skip
    assert {source for source in copied() if not (ROOT / source).exists()} == set()
    base = re.findall(r"^From: (\S+)$", APPTAINER, re.MULTILINE)
    assert base == instructions("FROM") == ["python:3.12-slim"]


def test_docker_is_shown_what_is_copied_alone() -> None:
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    assert lines[0] == "*" and {line[1:] for line in lines if line.startswith("!")} == copied()
    hidden = [line for line in lines[1:] if not line.startswith("!")]
    assert all(
        any(fnmatch.fnmatch(f"golang/{name}", kind) for kind in hidden) for name in ("x.pem", ".env", "__pycache__")
    )


def test_both_install_the_project_by_the_same_line() -> None:
    (line,) = instructions("RUN")
    assert section("post") == ["cd /opt/golang", line]
    (extras,) = re.findall(r'"\.\[(.*)\]"', line)
    known = tomli.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(extras.split(",")) == set(known) - {"dev", "docs"}
    assert "--constraint requirements.lock --constraint cuda.lock" in line


def test_the_line_installs_a_command_that_starts(tmp_path: Path) -> None:
    """In an empty environment that sees this one's libraries, and with no index: pip finds that all pins are met."""
    (tmp_path / "opt").mkdir()
    tree = package.copy(tmp_path / "opt")
    python = package.new_python(tmp_path / "venv")
    package.add_libraries(python)
    pip = python.with_name("pip")
    pip.write_text(
        f'#!/bin/bash\nexec {python} -m pip --disable-pip-version-check "$@" --no-index --no-build-isolation\n'
    )
    pip.chmod(0o755)
    around = package.surroundings(python)
    for line in (*instructions("RUN"), *section("test")):
        done = subprocess.run(["bash", "-ec", line], cwd=tree, env=around, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    (starts,) = section("runscript")
    done = subprocess.run(
        ["bash", "-c", starts, "golang.sif", "train", "--cfg", "job", "-p", "sweep"], cwd=tmp_path, env=around,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0 and done.stdout == "demo\n", done.stderr
    assert instructions("ENTRYPOINT") == ['["golang"]'] and starts == 'exec golang "$@"'


@pytest.mark.parametrize("line", re.findall(r"^    (golang train .*)$", PAGE, re.MULTILINE))
def test_a_line_of_the_page_starts_tasks_in_the_image(
    line: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "cluster=slurm" in line
    assert main([*shlex.split(line), "dry_run=true"], 2) == 0
    script = capsys.readouterr().out.replace("\n", " ")
    (started,) = re.findall(r"run_tasks srun .*? -m (?=launch\.node\.entry)", script)
    words = shlex.split(started)
    image = ["--container-image=/images/golang.sqsh", "--container-mounts=/scratch:/scratch"]
    if "apptainer" in line:
        image = ["apptainer", "exec", "--nv", "--bind", "/scratch", "/images/golang.sif"]
    assert words[-len(image) - 2 :] == [*image, "python3", "-m"] and "--export=ALL" in words
    assert list(tmp_path.iterdir()) == []


def test_the_page_shows_both_ways() -> None:
    assert len(re.findall(r"^    golang train .*cluster\.container=", PAGE, re.MULTILINE)) == 2
    assert (
        "docker build --file containers/Dockerfile" in PAGE
        and "apptainer build golang.sif containers/golang.def" in PAGE
    )
    torch = re.findall(r"^torch(?:vision)?==\S+", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    assert f"pip install --no-cache-dir {' '.join(torch)} --index-url ADDRESS" in PAGE
