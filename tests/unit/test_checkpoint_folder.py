"""`checkpoint.folder`: a run's checkpoints on another disk, by the one link that a run's folder may have."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from golang.config import Config
from golang.config.identity import run_id
from golang.errors import ConfigError
from golang.runfolder.elsewhere import OWNER
from golang.runfolder.folder import RunFolder


def config(folder: Path | None) -> Config:
    return Config.from_dict({"checkpoint": {"folder": None if folder is None else str(folder)}})


def test_checkpoints_lie_where_the_setting_says(tmp_path: Path) -> None:
    fast, path = tmp_path / "fast", tmp_path / "runs/s/base-0a0a0a0a"
    run = RunFolder.create(path, config(fast))
    assert run.checkpoints.readlink() == fast / "base-0a0a0a0a" and run.attempts.is_dir()
    assert (fast / "base-0a0a0a0a").stat().st_mode & 0o077 == 0
    (run.checkpoints / "step_00000001.a00.pt").write_bytes(b"x")
    again = RunFolder.create(path, config(fast))
    assert [file.name for file in again.checkpoints.glob("step_*")] == ["step_00000001.a00.pt"]
    assert run_id(config(fast)) == run_id(Config()), "no part of what makes a run another"
    assert again.config().checkpoint.folder == str(fast)


def test_without_it_nothing_changes(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path / "run", config(None))
    assert run.checkpoints.is_dir() and not run.checkpoints.is_symlink() and not list(run.checkpoints.iterdir())
    moved = RunFolder.create(tmp_path / "run", config(tmp_path / "fast"))
    assert moved.checkpoints.is_symlink(), "an empty folder gives way"


def test_a_link_of_ones_own_to_the_same_place_is_taken(tmp_path: Path) -> None:
    place, path = tmp_path / "fast/run", tmp_path / "run"
    place.mkdir(parents=True)
    (place / "step_00000001.a00.pt").write_bytes(b"x")
    path.mkdir()
    (path / "checkpoints").symlink_to("../fast/run")
    assert list(RunFolder.create(path, config(tmp_path / "fast")).checkpoints.glob("step_*"))
    assert json.loads((place / OWNER).read_text()) == {"run": str(path / "checkpoints")}


def test_any_other_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    for number, name in enumerate(("checkpoints", "attempts", "logs", "checkpoints/more")):
        path = tmp_path / f"run{number}"
        (path / name).parent.mkdir(parents=True)
        (path / name).symlink_to(tmp_path / "other")
        for folder in (None, tmp_path / "fast"):
            with pytest.raises(ConfigError, match="is a link to"):
                RunFolder.create(path, config(folder))
    assert not list((tmp_path / "other").iterdir()) and not (tmp_path / "fast").exists()


def test_the_setting_is_asked_for_again(tmp_path: Path) -> None:
    RunFolder.create(tmp_path / "run", config(tmp_path / "fast"))
    for folder in (None, tmp_path / "other"):
        with pytest.raises(ConfigError, match=rf"lie; type the command with checkpoint\.folder={tmp_path}/fast"):
            RunFolder.create(tmp_path / "run", config(folder))
    assert not (tmp_path / "other").exists()


def test_nothing_is_mixed_or_lost(tmp_path: Path) -> None:
    fast, kept = tmp_path / "fast", b"x"
    run = RunFolder.create(tmp_path / "a/run", config(fast))
    with pytest.raises(ConfigError, match=r"fast/run is not empty, and no run's yet that leads to it"):
        RunFolder.create(tmp_path / "b/run", config(fast))
    (run.checkpoints / "step_00000001.a00.pt").write_bytes(kept)
    shutil.copytree(run.path, tmp_path / "c/run", symlinks=True)
    with pytest.raises(ConfigError, match=r"is a copy of .*a/run/checkpoints, whose checkpoints lie in"):
        RunFolder.create(tmp_path / "c/run", config(fast))
    shutil.move(run.path, tmp_path / "d/run")
    assert list(RunFolder.create(tmp_path / "d/run", config(fast)).checkpoints.glob("step_*")), "a run that was moved"
    shutil.rmtree(tmp_path / "d/run")
    with pytest.raises(ConfigError, match="is not empty"):
        RunFolder.create(tmp_path / "d/run", config(fast))
    assert (fast / "run/step_00000001.a00.pt").read_bytes() == kept


def test_checkpoints_that_are_there_already_are_moved_by_the_command_that_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a run"
    run = RunFolder.create(path, config(None))
    (run.checkpoints / "step_00000001.a00.pt").write_bytes(b"x")
    with pytest.raises(ConfigError, match="holds this run's checkpoints already; leave") as error:
        RunFolder.create(path, config(tmp_path / "fast"))
    subprocess.run(["bash", "-c", str(error.value).partition("move them first: ")[2]], check=True)
    assert list(RunFolder.create(path, config(tmp_path / "fast")).checkpoints.glob("step_*"))


def test_a_place_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"can't make .*file/run: .*; choose another with checkpoint\.folder=PATH"):
        RunFolder.create(tmp_path / "run", config(tmp_path / "file"))
