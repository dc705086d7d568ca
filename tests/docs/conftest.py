"""What a reader of the docs has: a shell with the project's programs, images, labels, and a sweep that is finished."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from golang.sources import ROOT
from tests.docs import inputs
from tests.docs.blocks import Block

PATIENCE = 120.0  # seconds for a block
HERE = Path(__file__).parent


@dataclass(frozen=True)
class Shell:
    """Bash as a reader has it, in a folder of their own."""

    folder: Path
    environ: dict[str, str]

    def run(self, block: Block) -> subprocess.CompletedProcess[str]:
        """What a block of commands or of Python comes to; its output is together in `stdout`."""
        typed = block.kind == "python"
        with subprocess.Popen(
            ["python", "-"] if typed else ["bash", "-e", "-c", block.text], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
            cwd=self.folder, env=self.environ | {"READER": str(self.folder)},
        ) as process:  # fmt: skip
            try:
                said, _ = process.communicate(block.text if typed else "", PATIENCE)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                said = process.communicate()[0] + f"\nkilled after {PATIENCE:g} s"
        return subprocess.CompletedProcess(block.name, process.returncode, said)


@pytest.fixture(scope="session")
def environ(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of blocks: their `python`, `golang` and `torchrun`, no key, no Slurm job around them."""
    place = tmp_path_factory.mktemp("shell")
    for name in ("python", "golang", "torchrun"):
        program = place / name
        program.write_text(f'#!/bin/sh\nexec {sys.executable} -IS {HERE / "shell.py"} {name} "$@"\n')
        program.chmod(0o755)
    own = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "SBATCH_", "WANDB_"))}
    make = place / "make"  # the environment is this one, whose programs are those above
    make.write_text(f'#!/bin/sh\nexec {shutil.which("make")} BIN={place} --old-file=.venv/.ready "$@"\n')
    make.chmod(0o755)
    own |= {
        "PATH": f"{place}:{os.environ['PATH']}", "HOME": str(place), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1",
        "PYTHONUNBUFFERED": "1", "WANDB_MODE": "disabled", "WARM_PYTHON": str(place / "warm"), "COLUMNS": "120",
        "PYTHON_EXEC": str(place / "python"),
    }  # fmt: skip
    server = subprocess.Popen([sys.executable, "-m", "tests.docs.warm", own["WARM_PYTHON"]], cwd=ROOT, env=own)
    while not (place / "warm").exists():
        assert server.poll() is None, "the process that blocks are forked from ended"
        time.sleep(0.05)
    yield own
    server.terminate()
    server.wait()


@pytest.fixture(scope="session")
def prepared(environ: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds what the docs say a reader has: images, labels, and runs/coco."""
    folder = inputs.prepare(tmp_path_factory.mktemp("inputs"))
    typed = "golang train experiment=coco2014 data.root=datasets/coco run_dir=runs/coco"
    done = Shell(folder, environ).run(Block("", 1, "bash", typed))
    assert done.returncode == 0, done.stdout
    shutil.copytree(folder / "runs/coco", folder / "RUN")
    shutil.copy(max(folder.glob("RUN/checkpoints/*.pt")), folder / "CHECKPOINT")
    return folder


@pytest.fixture
def shell(environ: dict[str, str], prepared: Path, tmp_path: Path) -> Shell:
    """In a new folder with those inputs."""
    folder = tmp_path / "reader"
    shutil.copytree(prepared, folder, symlinks=True)
    return Shell(folder, environ)


@pytest.fixture(scope="session")
def swept(environ: dict[str, str], prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """In a folder where runs/own was trained by cluster=local."""
    folder = tmp_path_factory.mktemp("swept") / "reader"
    shutil.copytree(prepared, folder, symlinks=True)
    return inputs.sweep(Shell(folder, environ))
