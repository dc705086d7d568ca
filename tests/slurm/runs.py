"""Runs of the real launcher on a real cluster: typed as a user types them, looked at through their folders."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from launch.sweep import ledger

from .cluster import Cluster

ROOT = Path(__file__).resolve().parents[2]
NODES, TASKS = 2, 2


HOLD = "cluster.extra={hold: true}"  # an override: nothing trains until a test says so


def flat(values: dict, prefix: str = "") -> list[str]:
    """Settings as overrides."""
    found = []
    for key, value in values.items():
        if isinstance(value, dict) and key != "toy":
            found += flat(value, f"{prefix}{key}.")
        elif key not in ("sweep", "name"):
            text = json.dumps(value) if not isinstance(value, dict) else json.dumps(value).replace('"', "")
            found.append(f"{prefix}{key}={text}")
    return found


@dataclass
class Typist:
    """Types `python run.py` against a cluster, in one working folder."""

    cluster: Cluster
    folder: Path
    settings: list[str]
    root: Path = ROOT
    python: str = sys.executable

    def type(
        self, *overrides: str, timeout: float = 60, environment: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(self.command(*overrides), **self.options(environment), timeout=timeout, check=False)

    def command(self, *overrides: str) -> list[str]:
        return [
            self.python, str(self.root / "run.py"), "cluster=slurm", f"cluster.nodes={NODES}",
            f"cluster.tasks_per_node={TASKS}", "cluster.env={OMP_NUM_THREADS: 1}", *self.settings, *overrides,
        ]  # fmt: skip

    def options(self, environment: dict[str, str] | None = None) -> dict:
        return {
            "cwd": self.folder, "env": self.cluster.environment() | {"OMP_NUM_THREADS": "1"} | (environment or {}),
            "stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True,
        }  # fmt: skip

    def submit(self, *overrides: str, sweep: str) -> list[Seen]:
        """The runs of a new sweep, in the order of its ledger."""
        done = self.type(*overrides, f"sweep={sweep}")
        assert done.returncode == 0, done.stdout + done.stderr
        return self.runs(sweep)

    def runs(self, sweep: str) -> list[Seen]:
        path = self.folder / "runs" / sweep
        newest = {line["folder"]: line["job"] for line in ledger.read(path) if line["event"] == "submitted"}
        return [Seen(self.cluster, path / folder, job) for folder, job in newest.items()]


@dataclass
class Seen:
    """A run as one sees it from outside."""

    cluster: Cluster
    path: Path
    job: str

    @property
    def done(self) -> bool:
        return (self.path / "DONE").exists()

    @property
    def step(self) -> int:
        with contextlib.suppress(OSError, ValueError, IndexError):
            return int(json.loads((self.path / "metrics.jsonl").read_text().splitlines()[-1])["step"])
        return 0

    @property
    def attempts(self) -> list[Path]:
        return sorted(path for path in (self.path / "attempts").iterdir() if path.name.isdecimal())

    def events(self) -> list[dict]:
        return [line for line in ledger.read(self.path.parent) if line["folder"] == self.path.name]

    def causes(self) -> list[str]:
        """What each attempt but the last ended of, by its cause.json."""
        files = [path / "cause.json" for path in self.attempts[:-1]]
        return [json.loads(file.read_text())["cause"] if file.exists() else "nothing" for file in files]

    def words(self) -> list[str]:
        return [line["event"] for line in self.events()]

    def text(self) -> str:
        """All that the run's processes ever said."""
        files = [*self.path.glob("logs/*"), *self.path.glob("attempts/*/rank*.log")]
        return "\n".join(f"--- {file.name}\n{file.read_text()}" for file in sorted(files))

    def wait(self, condition: Callable[[Seen], object], seconds: float, what: str) -> Seen:
        deadline = time.monotonic() + seconds
        while not condition(self):
            if time.monotonic() > deadline:
                record = self.cluster.run("scontrol", "show", "job", self.job, check=False).stdout
                raise AssertionError(
                    f"{self.path}: not {what} within {seconds:g} s; {self.words()}\n{record}\n{self.text()[-6000:]}"
                )
            time.sleep(0.1)
        return self

    def wait_step(self, step: int, seconds: float = 120) -> Seen:
        return self.wait(lambda run: run.step >= step, seconds, f"at step {step}")

    def wait_done(self, seconds: float = 300) -> Seen:
        return self.wait(lambda run: run.done, seconds, "finished")

    def ranks(self) -> dict[int, int]:
        """Rank → pid of the tasks that live now."""
        found = {}
        for name in self.cluster.config.names:
            for pid in self.cluster.tasks(name):
                with contextlib.suppress(OSError):
                    words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
                    variables = dict(
                        item.split("=", 1)
                        for item in Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
                        if "=" in item
                    )
                    if "launch.node.entry" in words and words[-2] == str(self.path) and "SLURM_PROCID" in variables:
                        found.setdefault(int(variables["SLURM_PROCID"]), pid)
        return found

    def hold_at(self, step: int, tasks: int = NODES * TASKS) -> dict[int, int]:
        """Stops the ranks (SIGSTOP) at that step or soon after it; rank → pid."""
        ranks = self.wait(lambda run: len(run.ranks()) == tasks, 300, "started").ranks()
        deadline = time.monotonic() + 180
        while self.step < step and time.monotonic() < deadline:
            time.sleep(0.01)
        for pid in ranks.values():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
        self.wait_step(step, 0)
        return ranks

    def signal(self, number: signal.Signals) -> None:
        for pid in self.ranks().values():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def record(self) -> dict[str, str]:
        return self.cluster.job(self.job)

    @property
    def nodes(self) -> list[str]:
        return self.cluster.run("scontrol", "show", "hostnames", self.record()["NodeList"]).stdout.split()

    def shells(self) -> list[int]:
        """Pids of its batch script."""
        told = f"SLURM_JOB_ID={self.record()['JobId']}".encode()
        found = []
        for pid in (pid for name in self.cluster.config.names for pid in self.cluster.tasks(name)):
            with contextlib.suppress(OSError):
                script = b"slurm_script" in Path(f"/proc/{pid}/cmdline").read_bytes()
                if script and told in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                    found.append(pid)
        return found

    def repeated(self) -> list[int]:
        """Steps that each later attempt did again, as far as the run's own status tells."""
        lines = [line for line in self.events() if line["event"] == "attempt"]
        return [max(0, line["reached"] - line["resumes"]) for line in lines[1:]]


def preempt(cluster: Cluster, run: Seen, seconds: int = 2) -> str:
    """A job of higher priority on the run's nodes; its id."""
    nodes = run.record()["NodeList"]
    return cluster.run(
        "sbatch", "--parsable", "--partition=high", f"--nodelist={nodes}", f"--nodes={NODES}", "--exclusive",
        "--output=/dev/null", f"--wrap=sleep {seconds}",
    ).stdout.strip()  # fmt: skip


def queue(cluster: Cluster) -> list[tuple[str, str]]:
    """Every job and array element: id, state."""
    lines = cluster.run("squeue", "--noheader", "--array", "--format=%i %T").stdout.split("\n")
    return sorted((line.split()[0], line.split()[1]) for line in lines if line)


def said(done: subprocess.CompletedProcess[str]) -> str:
    return done.stdout + done.stderr
