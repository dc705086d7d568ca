"""The wheel: complete, alone in its folder, and able to do all that a checkout does."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from golang import __version__
from golang.config import Toy
from golang.data.toy.write import write
from golang.sources import ROOT
from golang.tracking.client import code_version
from launch import commands
from launch.planning.app import main
from launch.sweep import snapshot
from tests.cli.command import QUICK
from tests.unit import package


@dataclass(frozen=True)
class Installed:
    """The wheel, made of the source archive and installed, seen from a folder of its own."""

    wheel: Path
    python: Path
    folder: Path

    def golang(self, *words: str) -> subprocess.CompletedProcess[str]:
        return self.run(str(self.python.with_name("golang")), *words)

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        around = package.surroundings(self.python)
        return subprocess.run(command, cwd=self.folder, env=around, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    place = tmp_path_factory.mktemp("package")
    (place / "tree").mkdir()
    tree = package.copy(place / "tree")
    pack = f"from setuptools import build_meta; build_meta.build_sdist({str(place)!r})"
    subprocess.run([sys.executable, "-c", pack], cwd=tree, check=True, capture_output=True)
    (archive,) = place.glob("*.tar.gz")
    python = package.new_python(place / "venv")
    build = [*package.PIP, "wheel", *package.ALONE, "--no-build-isolation", "--wheel-dir", place]
    subprocess.run([*build, archive], check=True)
    (wheel,) = place.glob("*.whl")
    subprocess.run([*package.PIP, "--python", python, "install", *package.ALONE, wheel], check=True)
    package.add_libraries(python)
    (place / "elsewhere").mkdir()
    return Installed(wheel, python, place / "elsewhere")


def test_the_wheel_holds_the_code_and_the_configs_and_nothing_else(installed: Installed) -> None:
    code = {str(path.relative_to(ROOT)) for part in ("golang", "launch") for path in (ROOT / part).rglob("*.*")}
    code = {name for name in code if "__pycache__" not in name}
    configs = {f"launch/{path.relative_to(ROOT)}" for path in (ROOT / "configs").rglob("*.yaml")}
    with zipfile.ZipFile(installed.wheel) as packed:
        names = {name for name in packed.namelist() if ".dist-info/" not in name}
    assert {"launch/node/job.sh", "launch/node/again.sh", "launch/node/notify.sh"} < names
    assert names == code | configs and len(configs) > 30
    assert installed.wheel.name == f"golang_ssl-{__version__}-py3-none-any.whl"
    assert f"dist/{installed.wheel.name}[" in (ROOT / "docs/start.md").read_text()


def test_the_command_answers_from_the_wheel(installed: Installed) -> None:
    where = installed.run(str(installed.python), "-c", "import golang, launch; print(golang.__file__, launch.__file__)")
    assert all(Path(file).is_relative_to(installed.python.parents[1]) for file in where.stdout.split()), where
    assert installed.golang("--version").stdout == f"golang {__version__}\n"
    assert re.findall(r"^  (\w+) +\w.*$", installed.golang("--help").stdout, re.MULTILINE) == [*commands.COMMANDS]
    wrong = installed.golang("lanch", "status")
    assert (wrong.returncode, wrong.stderr) == (2, "golang lanch: there is no such command — did you mean launch?\n")
    nothing = installed.golang("launch", "status")
    assert nothing.returncode == 2 and "start one with golang train, or name a folder" in nothing.stderr


def test_it_composes_what_a_checkout_composes(installed: Installed, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["experiment=swav_coco2014", "sweep=mine", "--cfg", "job"]
    done = installed.golang("train", *words)
    assert main(["run.py", *words]) == 0
    assert done.stdout == capsys.readouterr().out and "epochs: " in done.stdout, done.stderr
    usage = installed.golang("train", "--help").stdout
    assert usage.startswith("usage: golang train [GROUP=CHOICE") and "experiment=coco2014|coco2017|demo" in usage


def test_without_the_launchers_packages_it_says_what_to_install(installed: Installed) -> None:
    code = "import sys; from launch.commands import main; sys.modules['hydra'] = None; sys.exit(main())"
    done = installed.run(str(installed.python), "-c", code, "train")
    assert done.returncode == 1 and done.stderr == (
        f'{installed.python} has no module hydra: `pip install "golang-ssl[launch]"` with that Python brings it\n'
    )


def test_a_run_here_from_its_frozen_code_and_the_same_command_again(installed: Installed) -> None:
    root = write(installed.folder / "data", Toy(classes=5, size=32, train=44, val=4, seed=1), workers=1)
    typed = [*QUICK, f"data.root={root}", "cluster=local", "optim.epochs=1", "optim.warmup_epochs=0", "sweep=here"]
    done = installed.golang("train", *typed)
    assert done.returncode == 0 and "1 submitted" in done.stdout, done.stderr
    sweep = installed.folder / "runs/here"
    deadline = time.monotonic() + 90
    while not list(sweep.glob("*/DONE")):
        logs = "".join(file.read_text() for file in sweep.glob("submissions/*/*/*_log.*"))
        assert time.monotonic() < deadline, logs
        time.sleep(0.1)
    (run,) = (path.parent for path in sweep.glob("*/DONE"))
    (code,) = (sweep / "code").iterdir()
    assert sorted(path.name for path in code.iterdir()) == ["golang", "launch"]
    assert (code / "launch/configs/config.yaml").read_bytes() == (ROOT / "configs/config.yaml").read_bytes()
    script = (run / "job.sbatch").read_text()
    assert f"\n. {code}/launch/node/job.sh || exit 1\n" in script and (code / "launch/node/job.sh").is_file()
    assert f' {installed.python} -m launch.node.entry "$RUN_DIR"\n' in script
    assert f"export PYTHONPATH={code}" in script and (code / "launch/node/entry.py").is_file()
    assert json.loads((run / "attempts/00/start.json").read_text())["versions"]["golang"] == __version__
    again = installed.golang("launch", "resume")
    program = installed.python.with_name("golang")
    assert again.stdout.startswith(f"cd {installed.folder} && {program} train '{QUICK[0]}' "), again.stderr
    assert again.returncode == 0 and "1 finished" in again.stdout
    assert json.loads((sweep / "sweep.yaml").read_text())["command"] == [str(program), "train", *typed]


def test_what_surrounds_an_installed_package_does_not_decide_what_is_code(tmp_path: Path) -> None:
    """Of a folder that someone keeps in git, environment and all, without what they call data."""
    for name in (
        "golang/data/a.py",
        "launch/configs/data/toy.yaml",
        "launch/node/job.sh",
        "launch/x.pem",
        "hydra/a.py",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    (tmp_path / ".gitignore").write_text("data/\n")
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "theirs"]):
        subprocess.run([*git, *words], check=True)
    expected = ["golang/data/a.py", "launch/configs/data/toy.yaml", "launch/node/job.sh"]
    assert snapshot.code_files(tmp_path) == expected
    assert code_version(tmp_path) == f"golang {__version__}"


@pytest.mark.parametrize(
    ("typed", "status", "said"),
    [
        ("", 0, "usage: golang COMMAND …"),
        ("-h", 0, "  convert   a checkpoint in another layout"),
        ("trian", 2, "golang trian: there is no such command — did you mean train?"),
        ("status", 2, "golang status: there is no such command; choose one of train, launch, evaluate, show, data,"),
        ("optim.epochs=2", 2, "a setting goes behind one: golang train optim.epochs=2"),
        ("train optim.epoch=2", 2, "unknown setting optim.epoch=2 — did you mean optim.epochs?"),
        ("data check nowhere", 2, "nowhere"),
        ("memory --gpus 0", 2, "--gpus 0 must be at least 1"),
        ("convert nowhere.pt out.pt", 2, "nowhere.pt"),
        ("evaluate knn nowhere.pt", 2, "say where the results go: --out FOLDER"),
        ("show classes nowhere elsewhere", 2, "nowhere has not been evaluated"),
    ],
)
def test_every_command_is_its_modules_own(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    typed: str,
    status: int,
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["golang", *typed.split()])
    assert commands.main() == status
    output = capsys.readouterr()
    assert said in output.out + output.err and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("golang ", [*commands.COMMANDS]),
        ("/opt/bin/golang la", [*commands.COMMANDS]),
        ("golang train optim.ep", ["optim.epochs="]),
        ("golang  train  tracking=", ["tracking=none", "tracking=offline", "tracking=wandb"]),
    ],
)
def test_completion(
    line: str, offered: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shell asks the program for words; of those that do not begin as what was typed, it drops all."""
    monkeypatch.setenv("COMP_LINE", line)
    monkeypatch.setattr(sys, "argv", ["golang", "-sc", "query=bash"])
    assert commands.main() == 0
    assert capsys.readouterr().out.split() == offered
