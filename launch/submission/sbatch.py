"""The batch scripts: of one run, which restarts it by itself, and of an array of runs."""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from golang.errors import ConfigError
from golang.runfolder.folder import RunFolder
from launch.settings import LEAD, Cluster, seconds
from launch.slurm import COMMENT
from launch.sweep import snapshot
from launch.sweep.paths import Submission

_PATTERN = re.compile(r"\\|%[A-Za-z0-9%]")
_PASSED = (
    "partition", "qos", "account", "reservation", "time", "nodes", "gpus_per_node", "gpus_per_task", "gres",
    "cpus_per_task", "mem", "mem_per_cpu", "mem_per_gpu", "constraint", "exclude", "nodelist", "exclusive",
    "dependency",
)  # fmt: skip


@dataclass(frozen=True)
class Script:
    """What runs share that go to Slurm together."""

    cluster: Cluster
    code: Path  # the snapshot
    name: str  # of the job
    cwd: Path  # what relative paths in the settings are relative to
    lead: int  # seconds of warning before the time limit

    def __post_init__(self) -> None:
        for path in (self.code, self.cwd):
            check_name(path)

    def for_run(self, run_dir: Path, submission: str) -> str:
        """A script that starts or restarts one run; its own id, so that a launcher finds the job."""
        options = self.options(submission, self._log(RunFolder(run_dir).logs, "%j.batch.log"))
        return self._text(options, f"RUN_DIR={shlex.quote(str(run_dir))}", submission)

    def for_array(self, submission: Submission, size: int) -> str:
        """A script whose element i runs the folder in line i of the submission's list, counted from 0."""
        running = self.cluster.parallelism
        limit = f"%{min(running, size)}" if running else ""
        log = self._log(submission.path, "%A_%a.log")
        options = self.options(submission.id, log) | {"array": f"0-{size - 1}{limit}"}
        listed = shlex.quote(str(submission.list_file))
        return self._text(options, f'RUN_DIR=$(sed -n "$((SLURM_ARRAY_TASK_ID + 1))p" {listed})', submission.id)

    def here(self, folder: Path, submission: str) -> str:
        """What each task of a run on this machine does: submitit's own protocol, from the snapshot."""
        cluster, gpus = self.cluster, self.cluster.gpus_here
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        devices = visible.split(",") if visible is not None else [str(index) for index in range(gpus or 0)]
        lines = ["#!/bin/bash", f"export GOLANG_SUBMISSION={shlex.quote(submission)}"]
        lines += [f"export GOLANG_CWD={shlex.quote(str(self.cwd))} GOLANG_LOCAL_SLOTS={cluster.parallelism or 1}"]
        if visible is not None or gpus is not None:
            lines.append(f"export CUDA_VISIBLE_DEVICES={shlex.quote(','.join(devices[:gpus]))}")
        program = f"exec {self._python()} -u -m submitit.core._submit {shlex.quote(str(folder))}"
        return "\n".join([*lines, *self._around(), program, ""])

    def options(self, submission: str, output: str) -> dict[str, str]:
        """Options of sbatch by their long names; "true" stands for one without a value."""
        options = {
            "job-name": self.name, "output": output, "open-mode": "append",
            "requeue": "true", "signal": f"USR2@{self.lead}",
        }  # fmt: skip
        if not self.cluster.counts_tasks_itself:
            options["ntasks-per-node"] = str(self.cluster.tasks)
        gpus = self.cluster.options.get("gpus", ",")
        if self.cluster.nodes > 1 and self.cluster.gres is None and self.cluster.shape.gpus and "," not in gpus:
            # By itself Slurm may give more of them to one node than to another.
            options["gpus-per-node"] = "".join(gpus.rpartition(":")[:2]) + str(self.cluster.shape.gpus)
        for name in _PASSED:
            value = getattr(self.cluster, name)
            if value not in (None, False):
                options[name.replace("_", "-")] = "true" if value is True else str(value)
        theirs = self.cluster.options.get("comment", os.environ.get("SBATCH_COMMENT", ""))
        return options | self.cluster.options | {"comment": f"{_line(theirs)} {COMMENT}{submission}".strip()}

    def _log(self, folder: Path, pattern: str) -> str:
        """Where a log goes. Raises ConfigError for a folder whose name Slurm would take for a pattern too."""
        if self.cluster.name == "slurm" and _PATTERN.search(str(folder)):
            raise ConfigError(
                f"{str(folder)!r}: in a log's path Slurm drops every \\ and replaces a % before a letter or digit; "
                "choose another place with runs_dir=PATH, or another sweep=NAME"
            )
        return f"{folder}/{pattern}"

    def _text(self, options: Mapping[str, str], which: str, submission: str) -> str:
        layout = snapshot.layout(self.code)
        lines = [
            "#!/bin/bash",
            *(f"#SBATCH {_option(name, value)}" for name, value in sorted(options.items())),
            "",
            which,
            f"MAX_RETRIES={self.cluster.max_retries} RESTARTS_IN_PLACE={self.cluster.restart_in_place}",
            f'OPTIONS="{" ".join(sorted(options))}"',
            f"GOLANG_SUBMISSION={shlex.quote(submission)}",
            f"export GOLANG_CWD={shlex.quote(str(self.cwd))} GOLANG_LEAD={self.lead}",
            'mkdir -p "$RUN_DIR/logs"',
            f". {shlex.quote(str(self.code))}/{layout.batch} || exit 1",
            *self._around(),
            f'run_tasks {self._srun()} {self._python()} -m {layout.program} "$RUN_DIR"',
            "",
        ]
        return "\n".join(lines)

    def _around(self) -> list[str]:
        """What a person wants done before the tasks start, then the way to the code."""
        lines = ["", "# cluster.setup", *self.cluster.setup] if self.cluster.setup else [""]
        lines += [f"export {name}={shlex.quote(value)}" for name, value in self.cluster.env.items()]
        code = shlex.quote(str(self.code))
        lines += [f'export PYTHONPATH={code}"${{PYTHONPATH:+:$PYTHONPATH}}" PYTHONUNBUFFERED=1']
        return [*lines, f"cd {code} || exit 1"]

    def _python(self) -> str:
        return self.cluster.python or shlex.quote(sys.executable)

    def _srun(self) -> str:
        """The command that starts the tasks, up to the program. Their output goes to the run's folder."""
        words = ["srun", "--unbuffered", "--kill-on-bad-exit=1", "--open-mode=append", "--export=ALL"]
        if self.cluster.counts_tasks_itself:  # Slurm would place them as they fit, or not know how many
            words.append(f"--ntasks={self.cluster.nodes * self.cluster.tasks}")
            if "ntasks-per-gpu" not in self.cluster.extra:
                words.append(f"--ntasks-per-node={self.cluster.tasks}")
        if self.cluster.cpus_per_task is not None:
            words.append(f"--cpus-per-task={self.cluster.cpus_per_task}")  # since 22.05 not inherited
        log = '--output="$RUN_DIR/logs/%j.rank%t.log"'
        return f"{shlex.join(words)} {log} {shlex.join(self.cluster.container)}".strip()


def check_name(path: Path) -> None:
    """Raises ConfigError for a path that no batch script can hold: it would end a line of options, or is no UTF-8."""
    if any(ord(character) < 32 or 0xD800 <= ord(character) <= 0xDFFF for character in str(path)):
        raise ConfigError(f"{str(path)!r} has a line break or the like in it, or is no UTF-8; work from another folder")


def lead_time(cluster: Cluster, save_seconds: float | None) -> int:
    """Seconds of warning before the time limit: what was asked for, else by the time a save took (ranks agree, save,
    ask Slurm), else a guess; at most half the limit, which Slurm counts in minutes."""
    wanted = cluster.lead or (LEAD if save_seconds is None else round(60 + 4 * save_seconds))
    return wanted if cluster.time is None else max(1, min(wanted, seconds(cluster.time) // 2))


def _line(text: str) -> str:
    """Text in one line, as an option of a script has to be."""
    return " ".join("".join(character if character.isprintable() else " " for character in text).split())


def _option(name: str, value: str) -> str:
    return f"--{name}" if value == "true" else f"--{name}={_quote(value)}"


def _quote(value: str) -> str:
    """As sbatch reads an option in a script: its own quoting, not a shell's."""
    if all(character.isalnum() or character in "@%+=:,./_-[]&|*~" for character in value):
        return value
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
