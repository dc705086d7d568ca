"""Boxes: private namespaces that hold the processes of a virtual node or of one daemon, and find them again.

A process belongs to a box when the /etc/hosts it sees is the box's own file. The kernel keeps that true through
daemonising, setsid, re-parenting and a restart of this program, so no pid file is trusted, a job's stray grandchild
is found like its slurmd, and two clusters on one machine cannot be confused.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

# Runs inside the new namespaces. $1 is the hostname ("" keeps the machine's), $2 the hosts file, the rest the daemon.
_ENTER = '[ -z "$1" ] || hostname "$1"; mount --bind "$2" /etc/hosts && shift 2 && exec "$@"'


class ClusterError(RuntimeError):
    """The cluster cannot do what was asked; the text says what is wrong and what to do about it."""


def wait_for(condition: Callable[[], object], seconds: float, what: str, every: float = 0.03) -> None:
    """Poll until `condition()` is true; raise `TimeoutError` naming `what` after `seconds`."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not so after {seconds:g} s")
        time.sleep(every)


def require_namespaces(environment: Mapping[str, str]) -> None:
    """Raise `ClusterError` naming the remedy when this user may not make mount and UTS namespaces here."""
    probe = subprocess.run(
        [*_unshare(hostname=True), "mount", "--bind", "/etc/hosts", "/etc/hosts"],
        env=dict(environment),
        capture_output=True,
        text=True,
    )
    if probe.returncode == 0:
        return
    who = "root (in a container?)" if os.getuid() == 0 else f"uid {os.getuid()}"
    remedy = (
        "start the container with --privileged or --cap-add SYS_ADMIN"
        if os.getuid() == 0
        else "run as root, or let users make namespaces: sysctl user.max_user_namespaces=10000, and where they exist "
        "kernel.unprivileged_userns_clone=1 and kernel.apparmor_restrict_unprivileged_userns=0"
    )
    raise ClusterError(
        f"virtual nodes need mount and UTS namespaces, which {who} may not make here: "
        f"{probe.stderr.strip() or 'unshare failed'}. Remedy: {remedy}."
    )


def _unshare(hostname: bool) -> list[str]:
    # Without root the namespaces live in a user namespace of our own, where the uid stays what it is.
    user = [] if os.getuid() == 0 else ["--map-current-user", "--keep-caps"]
    return ["unshare", *user, "--mount", *(["--uts"] if hostname else []), "--"]


@dataclass(frozen=True)
class Box:
    """A private mount namespace, with its own hostname if one is given. `hosts` is its /etc/hosts and its identity."""

    name: str
    hosts: Path
    hostname: str = ""

    def start(self, argv: Sequence[str], environment: Mapping[str, str], output: Path) -> None:
        """Run `argv`, a program that goes to the background by itself, in the box; its chatter is added to `output`.

        Raises `ClusterError` with what it said when it exits with an error.
        """
        command = [*_unshare(bool(self.hostname)), "sh", "-c", _ENTER, self.name, self.hostname, str(self.hosts)]
        with output.open("a+") as log:
            offset = log.tell()
            # No pipe: a daemon that kept its end open would keep us waiting for ever.
            done = subprocess.run(
                [*command, *argv], env=dict(environment), stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
            if done.returncode:
                log.seek(offset)
                raise ClusterError(f"{argv[0]} did not start (exit {done.returncode}): {log.read().strip()[-2000:]}")

    def holds(self, pid: int) -> bool:
        """Whether `pid` runs in the box. False for zombies, for the dead, and for processes of other users."""
        try:
            return Path(f"/proc/{pid}/root/etc/hosts").samefile(self.hosts)
        except OSError:
            return False

    def pids(self) -> list[int]:
        """Live processes in the box, lowest pid first."""
        return [pid for pid in all_pids() if self.holds(pid)]

    def signal(self, number: signal.Signals, pids: Collection[int] | None = None) -> None:
        """Send a signal to everything in the box, or to those of `pids` that are still in it."""
        for pid in self.pids() if pids is None else pids:
            with _handle(pid) as handle:
                # The handle is opened first, the membership checked second: a reused pid cannot be hit.
                if handle is not None and self.holds(pid):
                    with contextlib.suppress(ProcessLookupError):
                        signal.pidfd_send_signal(handle, number)

    def clear(self, seconds: float = 10.0) -> None:
        """SIGKILL until nothing is left in the box (something may fork meanwhile); `TimeoutError` after `seconds`."""

        def empty() -> bool:
            pids = self.pids()
            self.signal(signal.SIGKILL, pids)
            return not pids

        wait_for(empty, seconds, f"processes of {self.name} gone")


@contextlib.contextmanager
def _handle(pid: int) -> Iterator[int | None]:
    try:
        handle = os.pidfd_open(pid)
    except OSError:
        yield None
        return
    try:
        yield handle
    finally:
        os.close(handle)


def all_pids() -> list[int]:
    """Every process on this machine, lowest pid first."""
    return sorted(int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())


def command_name(pid: int) -> str:
    """The kernel's name of a process (at most 15 characters), empty if it has gone."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def state(pid: int) -> str:
    """The kernel's letter for a process: R, S, T (stopped), Z (dead, not yet reaped); empty if there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""
