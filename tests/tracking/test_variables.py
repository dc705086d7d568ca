"""W&B's own variables, through its own client."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from golang.config import Config
from golang.runfolder.folder import RunFolder
from golang.runfolder.metrics import MetricsLog
from golang.tracking.publish import publish
from golang.tracking.ticket import Ticket
from tests.tracking import records

VARIABLES = {
    "WANDB_PROJECT": "theirs", "WANDB_ENTITY": "team", "WANDB_NAME": "night", "WANDB_RUN_GROUP": "group",
    "WANDB_JOB_TYPE": "ablation", "WANDB_NOTES": "a note", "WANDB_TAGS": "one,two", "WANDB_RUN_ID": "another",
    "WANDB_DIR": "/nowhere", "WANDB_RESUME": "must",
}  # fmt: skip


@pytest.mark.parametrize(
    ("tracking", "variables", "shown"),
    [
        ({}, {}, ("golang", "", "run", "test", "pretrain", "", ["toy", "golang"])),
        ({}, VARIABLES, ("theirs", "team", "night", "group", "ablation", "a note", ["toy", "golang", "one", "two"])),
        (
            {"project": "ours", "entity": "us", "notes": "typed", "tags": ["first"]},
            VARIABLES,
            ("ours", "us", "night", "group", "ablation", "typed", ["toy", "golang", "first"]),
        ),
        ({}, {"WANDB_PROJECT": ""}, ("golang", "", "run", "test", "pretrain", "", ["toy", "golang"])),
    ],
)
def test_a_variable_counts_where_no_setting_does(
    tracking: dict[str, object],
    variables: dict[str, str],
    shown: tuple[object, ...],
    configure: Callable[..., Config],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = RunFolder.create(tmp_path / "run", configure(tracking={"name": "offline", **tracking}))
    MetricsLog(run.metrics_file, 0).write({"step": 1, "loss": 0.5})
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    publish(run.path, offline=True)
    (file,) = records.files(run.path / "wandb/clean-pretrain")
    facts = records.run(file)
    found = (facts.project, facts.entity, facts.display_name, facts.run_group, facts.job_type, facts.notes)
    assert (*found, list(facts.tags)) == shown
    assert facts.run_id == Ticket.of(run).id, "a run of ours is one run there"
