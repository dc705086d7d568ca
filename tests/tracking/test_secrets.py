"""Keys stay where their owner put them: none in any file of a run, whichever way it is started."""

from __future__ import annotations

import base64
import contextlib
from pathlib import Path

import pytest

from golang.config import Config
from golang.errors import ConfigError
from launch.settings import Launch
from tests.cli.command import command, run
from tests.tracking.conftest import wait
from tests.tracking.server import KEY, Server

SETTINGS_KEY = "feed" * 10
OTHER = "hf_planted0123456789"


def test_planted_keys(data_root: Path, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the environment and in W&B's own settings files, of the folder and of the user."""
    monkeypatch.setenv("HF_TOKEN", OTHER)
    for settings in (tmp_path / "wandb/settings", tmp_path / "home/.config/wandb/settings"):
        settings.parent.mkdir(parents=True)
        settings.write_text(f"[default]\napi_key = {SETTINGS_KEY}\n")
    typed = command(data_root, "cluster=local", "sweep=mine", "tracking=wandb", "optim.epochs=1",
                    "optim.warmup_epochs=0")  # fmt: skip
    code, output = run(tmp_path, typed)
    assert code == 0, output
    wait(lambda: any(run.exits for run in server.runs.values()), 300)
    wait(lambda: len(list(tmp_path.glob("runs/mine/*/DONE"))) == 1)
    ((_, tracked),) = server.runs.items()
    assert tracked.exits == [0] and len(tracked.steps) == 5, "with its key the run was tracked"
    files = [path for path in tmp_path.glob("runs/**/*") if path.is_file()]
    assert {"run.json", "config.yaml", "rank0.log", "debug-internal.log"} <= {path.name for path in files}
    assert {"ledger.jsonl", "sweep.yaml", "job.sbatch"} <= {path.name for path in files}
    written = {}
    for path in files:
        with contextlib.suppress(FileNotFoundError):  # renamed meanwhile: the run is just ending
            written[path] = path.read_bytes()
    for secret in (KEY, SETTINGS_KEY, OTHER):
        encoded = base64.b64encode(f"api:{secret}".encode())
        assert not [path for path, data in written.items() if secret.encode() in data or encoded in data]
        assert secret not in output


@pytest.mark.parametrize("typed", ["tracking.api_key", "wandb_api_key", "+tracking.token", "++cluster.password"])
def test_a_key_on_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], typed: str
) -> None:
    from launch.planning.app import main

    monkeypatch.chdir(tmp_path)
    assert main(["run.py", f"{typed}={KEY}", "cluster=slurm"]) == 2
    said = capsys.readouterr().out
    assert "looks like a secret" in said and "wandb login" in said and KEY not in said
    assert not list(tmp_path.glob("runs*"))


@pytest.mark.parametrize(
    "cluster",
    [
        {"env": {"WANDB_API_KEY": KEY}},
        {"env": {"HF_TOKEN": OTHER}},
        {"setup": [f"export WANDB_API_KEY={KEY}"]},
        {"setup": [f"module load x; AWS_SECRET_ACCESS_KEY='{KEY}'"]},
        {"extra": {"export": f"ALL,WANDB_API_KEY={KEY}"}},
    ],
)
def test_a_key_in_the_settings_of_a_job(cluster: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="looks like a secret, and settings are written to files") as refused:
        Launch.from_dict({"cluster": cluster})
    assert KEY not in str(refused.value) and OTHER not in str(refused.value)


def test_what_only_sounds_like_a_key() -> None:
    Launch.from_dict({"cluster": {
        "env": {"TOKENIZERS_PARALLELISM": "false", "WANDB_IDENTITY_TOKEN_FILE": "/run/token"},
        "setup": ["export WANDB_API_KEY=$(cat ~/.key)"],
    }})  # fmt: skip


def test_a_key_in_settings_from_python() -> None:
    with pytest.raises(ConfigError, match=r"tracking\.api_key looks like a secret") as refused:
        Config.from_dict({"tracking": {"api_key": KEY}})
    assert KEY not in str(refused.value)
