"""A real Slurm on loopback: slurmctld, one slurmd per virtual node, and if asked slurmdbd with MariaDB behind it."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Collection
from pathlib import Path
from types import TracebackType

from . import accounting, conf
from .conf import Config, free_block
from .processes import Box, ClusterError, command_name, require_namespaces, wait_for

__all__ = ["Cluster", "ClusterError", "Config", "missing_packages"]

_PACKAGES = {"slurmctld": "slurmctld", "slurmd": "slurmd", "sbatch": "slurm-client", "munged": "munge"}
_ACCOUNTING_PACKAGES = {
    "slurmdbd": "slurmdbd",
    "mariadbd": "mariadb-server-core",
    "mariadb": "mariadb-client-core",
}
_DAEMONS = {"slurmctld": 1, "slurmdbd": 2, "mariadbd": 3, "munged": 4}  # each talks through the ones after it
_ON_NODES = ("slurmd", "slurmstepd", "worker[")  # the last: a child of 26.05's slurmd, not yet a program of its own
_PRESENT = {"idle", "mix", "alloc", "comp", "plnd", "drain", "drng"}
AWAY = 20.0  # seconds that a controller may be away
_ROOT = Path(__file__).resolve().parents[2]


def path() -> str:
    """Where programs are looked for, daemons too."""
    return os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])


def missing_packages(accounting: bool = False) -> list[str]:
    """The Debian packages a cluster needs and this machine lacks."""
    wanted = {**_PACKAGES, **(_ACCOUNTING_PACKAGES if accounting else {})}
    return [package for program, package in wanted.items() if shutil.which(program, path=path()) is None]


def how_to_install(packages: list[str]) -> str:
    """The sentence for a person whose machine lacks `packages`."""
    command = "apt-get install -y --no-install-recommends"
    return f"no Slurm on this machine: {command} {' '.join(packages)} (first apt-get update)"


class Cluster:
    """A Slurm cluster whose every process and file is its own, so that any number fit on one machine.

    As a context manager it ends with the block, or with this process however that dies, and its folder is removed.
    `up()` and `down()` by hand leave it running in between. Errors are `ClusterError`, waits raise `TimeoutError`.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self.folder = config.folder.absolute()
        self.log = self.folder / "log"
        self._guard: subprocess.Popen[bytes] | None = None

    # -- life ---------------------------------------------------------------

    def up(self, seconds: float = 30.0) -> None:
        """Start what does not run yet and wait until every node answers; at most `seconds` for each part."""
        if missing := missing_packages(self.config.accounting):
            raise ClusterError(how_to_install(missing))
        require_namespaces(self.environment())
        ran = self.running()
        port = self._port_in_use() if ran else self.config.base_port or free_block(self.config.ports)
        try:
            conf.write(self.config, port)
            self._start("munged", self._munged())
            if self.config.accounting:
                accounting.start(self.folder, port, self._start, self.environment())
            self._start("slurmctld", ["slurmctld", "-i"])
            for name in self.config.names:
                self.start_node(name, wait=False)
            wait_for(self.ready, seconds, f"{self.config.nodes} nodes up")
        except BaseException as error:
            if not ran:
                self.down(remove=False)
            if isinstance(error, TimeoutError):
                raise ClusterError(f"{error}. Logs: {self.log}. Last complaints:\n{self._complaints()}") from error
            raise

    def down(self, remove: bool = True) -> None:
        """End every process of the cluster, jobs included; then remove its folder, or leave it for its logs."""
        boxes = sorted(self._boxes(), key=lambda box: _DAEMONS.get(box.name, 0))
        for box in boxes:
            if not remove and box.name in _DAEMONS:  # one that may come back saves its state first
                self._end(box)
            box.clear()
        if remove:
            conf.remove(self.folder)

    def running(self) -> bool:
        """Whether any process of the cluster lives."""
        return bool(self.pids())

    def pids(self) -> set[int]:
        """Every live process of the cluster: daemons and jobs."""
        return {pid for box in self._boxes() for pid in box.pids()}

    def states(self) -> dict[str, str]:
        """Node states as sinfo shortens them: idle, mix, alloc, drain, down, …; with a `*`, the node is silent."""
        sinfo = self.run("sinfo", "--noheader", "--Node", "--partition=low", "--format=%N %t", check=False)
        return dict(line.split() for line in sinfo.stdout.splitlines())

    def ready(self) -> bool:
        """Whether the controller answers and every node is there, be it idle, at work or drained."""
        states = self.states()
        return len(states) == self.config.nodes and set(states.values()) <= _PRESENT

    def __enter__(self) -> Cluster:
        # Ends the cluster when the pipe closes, be it that we are done or that we were killed. Its own session keeps
        # it out of reach of a Ctrl-C.
        command = [sys.executable, "-m", "tests.slurm", "down", "--folder", str(self.folder), "--after-stdin"]
        self._guard = subprocess.Popen(command, cwd=_ROOT, stdin=subprocess.PIPE, start_new_session=True)
        try:
            self.up()
        except BaseException:
            self._release_guard()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.down()
        self._release_guard()

    def _release_guard(self) -> None:
        if self._guard and self._guard.stdin:
            self._guard.stdin.close()
            self._guard.wait()
        self._guard = None

    # -- use ----------------------------------------------------------------

    def environment(self) -> dict[str, str]:
        """The environment for programs that are to use this cluster: SLURM_CONF, PATH, and no variable of a job."""
        inherited = {
            key: value for key, value in os.environ.items() if not key.startswith(("SLURM", "SBATCH_", "SRUN_"))
        }
        return {**inherited, "SLURM_CONF": str(self.folder / "etc" / "slurm.conf"), "PATH": path()}

    def run(
        self, *argv: str | Path, check: bool = True, timeout: float = 60.0, cwd: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a program against this cluster. Non-zero exit: `ClusterError` with what it said, unless `check=False`;
        with a controller that is away it is run again."""
        deadline = time.monotonic() + AWAY
        while True:
            done = subprocess.run(
                argv, env=self.environment(), cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                timeout=timeout,
            )  # fmt: skip
            away = "Unable to contact slurm controller" in done.stderr
            if not check or not away or time.monotonic() > deadline:
                break
            time.sleep(0.5)
        if check and done.returncode:
            command = " ".join(map(str, argv))
            raise ClusterError(f"{command}: exit {done.returncode}: {(done.stderr or done.stdout).strip()}")
        return done

    def job(self, identifier: int | str) -> dict[str, str]:
        """What `scontrol show job` says of a job, or of an array element `"7_1"`, by field."""
        record = self.run("scontrol", "--oneliner", "show", "job", str(identifier)).stdout.partition("\n")[0]
        return dict(re.findall(r"(?:^|(?<= ))([A-Z][\w:/]*)=(.*?) *(?= [A-Z][\w:/]*=|$)", record))

    def wait_job(self, identifier: int | str, states: str | Collection[str], timeout: float = 30.0) -> dict[str, str]:
        """Wait until a job's JobState is one of `states`; return its fields; `TimeoutError` after `timeout`."""
        wanted = {states} if isinstance(states, str) else set(states)
        end = time.monotonic() + timeout
        while (fields := self.job(identifier))["JobState"] not in wanted:
            if time.monotonic() > end:
                state, reason = fields["JobState"], fields.get("Reason")
                raise TimeoutError(f"job {identifier}: {state} ({reason}) after {timeout:g} s, not {sorted(wanted)}")
            time.sleep(0.1)
        return fields

    def reset(self, timeout: float = 30.0) -> None:
        """Back to the start between two tests: no jobs, all nodes thawed, up and resumed."""
        for name in self.config.names:
            self.thaw_node(name)
        if queue := self.run("squeue", "--noheader", "--format=%A").stdout.split():
            self.run("scancel", *sorted(set(queue)), check=False)
            for name in self.config.names:  # a job that ignores SIGTERM need not be waited for
                self.node(name).signal(signal.SIGKILL, self.tasks(name))
        for name in self.config.names:
            self.start_node(name, wait=False)
        nodes = ",".join(self.config.names)
        self.run("scontrol", "update", f"NodeName={nodes}", "State=RESUME", check=False)  # refused when not drained
        wait_for(lambda: set(self.states().values()) == {"idle"}, timeout, "all nodes idle")

    # -- nodes and daemons ----------------------------------------------------

    def node(self, name: str | int) -> Box:
        """The box of node `"n2"` or 2."""
        name = f"n{name}" if isinstance(name, int) else name
        if name not in self.config.names:
            raise ValueError(f"no node {name!r}: they are {', '.join(self.config.names)}")
        return self._box(name)

    def tasks(self, name: str | int) -> list[int]:
        """Pids of the job processes on a node: batch scripts, tasks and all they started, no daemon of Slurm."""
        names = {pid: command_name(pid) for pid in self.node(name).pids()}
        return [pid for pid, program in names.items() if program and not program.startswith(_ON_NODES)]

    def kill_node(self, name: str | int) -> None:
        """Power off: SIGKILL for all on the node. Slurm notices after `slurmd_timeout` and some 10 s."""
        self.node(name).clear()

    def start_node(self, name: str | int, wait: bool = True) -> None:
        """Start slurmd on a node where none runs, and wait until the controller is content with all nodes."""
        name = self.node(name).name
        self._start(name, ["slurmd", "-N", name], unless="slurmd")
        if wait:
            wait_for(self.ready, 30.0, f"{name} up")

    def freeze_node(self, name: str | int) -> None:
        """SIGSTOP for slurmd and everything on the node: unreachable, but all its processes live on."""
        box = self.node(name)
        seen: set[int] = set()
        while new := set(box.pids()) - seen:  # until nothing is left that could have forked meanwhile
            box.signal(signal.SIGSTOP, new)
            seen |= new

    def thaw_node(self, name: str | int) -> None:
        """SIGCONT for everything on the node."""
        self.node(name).signal(signal.SIGCONT)

    def restart_controller(self, away: float = 0.0) -> None:
        """End slurmctld in good order, start it again `away` seconds later and wait until it answers; jobs live on."""
        self._end(self._box("slurmctld"))
        time.sleep(away)
        self._start("slurmctld", ["slurmctld", "-i"])
        wait_for(self.answers, 30.0, "the controller answers")

    def answers(self) -> bool:
        """Whether the controller does."""
        return self.run("scontrol", "ping", check=False).returncode == 0

    # -- inside ---------------------------------------------------------------

    def _boxes(self) -> list[Box]:
        # From the folder, not the configuration: whoever ends a cluster need not know its shape.
        return [Box(file.name, file) for file in (self.folder / "hosts").glob("*")]

    def _box(self, name: str) -> Box:
        hostname = name if name in self.config.names else ""
        return Box(name, self.folder / "hosts" / name, hostname)

    def _start(self, name: str, argv: list[str], unless: str = "") -> None:
        """Start a daemon in its box, unless a process called `unless`, or the daemon's name, is in there."""
        box = self._box(name)
        if not any(command_name(pid) == (unless or name) for pid in box.pids()):
            box.start(argv, self.environment(), self.log / f"{name}.out")

    def _end(self, box: Box) -> None:
        box.signal(signal.SIGTERM)
        try:
            wait_for(lambda: not box.pids(), 10.0, f"{box.name} ended")
        except TimeoutError:
            box.clear()

    def _munged(self) -> list[str]:
        own = self.folder / "munge"
        return [
            "munged", "--force", "--num-threads=2", f"--key-file={own}/key", f"--seed-file={own}/seed",
            f"--log-file={own}/munged.log", f"--pid-file={self.folder}/run/munged.pid",
            f"--socket={self.folder}/run/munge.socket",
        ]  # fmt: skip

    def _port_in_use(self) -> int:
        """The first port of the cluster that runs in the folder, which must be the one this object describes."""
        text = (self.folder / "etc" / "slurm.conf").read_text()
        found = re.search(r"^SlurmctldPort=(\d+)", text, re.MULTILINE)
        port = int(found[1]) if found else 0
        if conf.slurm_conf(self.config, port) != text:
            raise ClusterError(f"another cluster than the one asked for runs in {self.folder}. Remedy: end it first.")
        return port

    def _complaints(self) -> str:
        lines = [line for file in sorted(self.log.glob("*.log")) for line in file.read_text().splitlines()]
        return "\n".join([line for line in lines if "error:" in line or "fatal:" in line][-8:])
