"""Two small jobs that try what runs rely on: one waits for the warning of its time limit and then requeues itself, the
other tries what its node and this machine see of each other's files and locks, and is cancelled. Each writes what it
hears to a folder beside the runs, which goes again with the jobs."""

from __future__ import annotations

import contextlib
import shlex
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from golang.errors import DataError
from golang.runfolder import lock
from launch import slurm
from launch.doctor.finding import Finding, check
from launch.doctor.operations import ALONE
from launch.errors import SlurmError
from launch.slurm import ACTIVE

LEAD = 20  # seconds of warning asked for; Slurm looks every 30, so it comes 10 to 40 s after the start
LIMIT = 60  # seconds: the shortest time limit there is
START = 120.0  # seconds for a job to start
SEEN = 45.0  # seconds for a file to be seen there, and the answer here; the time limit leaves no more
PROMPT = 5.0  # seconds for it that are few
END = 30.0  # seconds beyond its limit for a job to be over, and for a signal to arrive
_PASSED = ("partition", "account", "qos", "reservation", "constraint")

TASK = r"""
say() { printf '%s %s %s\n' "$(date +%s.%N)" "$1" "$2" >>"$KIND.log"; }
trap 'say USR2; warned=yes' USR2
trap 'say TERM; exit 0' TERM
if [ "$KIND" = cancel ]; then
  flock -n -E 9 lock true 2>/dev/null
  say lock $?
fi
say start "$(hostname)"
for ((i = 0; i < 350; i++)); do # 70 s, beyond the time limit
  [ -n "$warned" ] && break
  [ "$KIND" = cancel ] && [ -e question ] && : >answer
  sleep 0.2 &
  wait $!
done
if ! command -v scontrol >/dev/null; then say refused "no scontrol on the PATH of a task"
elif said=$(scontrol requeue "$SLURM_JOB_ID" 2>&1); then say accepted
else say refused "$said"; fi
sleep 20 &
wait $!
"""


@dataclass
class _Trial:
    """One of the two, as seen from here."""

    kind: str
    folder: Path
    id: str

    def heard(self) -> dict[str, tuple[float, str]]:
        """What it wrote by now: word → (the node's clock, the rest)."""
        found: dict[str, tuple[float, str]] = {}
        with contextlib.suppress(OSError):
            for line in (self.folder / f"{self.kind}.log").read_text(errors="replace").splitlines():
                clock, word, said = [*line.split(" ", 2), "", ""][:3]
                with contextlib.suppress(ValueError):
                    found.setdefault(word, (float(clock), said.strip()))
        return found

    def wait(self, words: set[str], seconds: float) -> dict[str, tuple[float, str]]:
        """Until it wrote one of `words`, or `seconds` have passed."""
        deadline = time.monotonic() + seconds
        while not (heard := self.heard()).keys() & words and time.monotonic() < deadline:
            time.sleep(0.1)
        return heard


def probe(place: Path, options: Mapping[str, str]) -> Iterator[Finding]:
    """Sends the jobs with the partition, account, … of `options`; what they found, a minute after they have started."""
    jobs: list[_Trial] = []
    try:
        folder = Path(tempfile.mkdtemp(prefix=".probe-", dir=place))
    except OSError as error:
        yield Finding("fail", "probe", f"can't write to {place}: {error.strerror}", "runs_dir=PATH chooses another")
        return
    try:
        with (folder / "lock").open("a") as held:
            with contextlib.suppress(DataError):  # which is found without a job, too
                lock.take(held, folder / "lock")
            for kind in ("limit", "cancel"):
                jobs.append(_Trial(kind, folder, _send(folder, kind, options)))
            for job, look in ((jobs[1], _shared_and_cancelled), (jobs[0], _warned_and_requeued)):
                yield from look(job) if (late := _not_started(job)) is None else (late,)
    except SlurmError as error:
        yield Finding("fail", "probe", str(error), "name a run: the probe then uses its account, QOS and partition")
    finally:
        _clear([job.id for job in jobs])
        shutil.rmtree(folder, ignore_errors=True)


def _send(folder: Path, kind: str, options: Mapping[str, str]) -> str:
    told = {name: options[name] for name in _PASSED if name in options} | {
        "job-name": "golang-doctor", "nodes": "1", "ntasks": "1", "time": "1", "output": "/dev/null", "chdir": "/",
    } | ({"signal": f"USR2@{LEAD}"} if kind == "limit" else {})  # fmt: skip
    (folder / "task.sh").write_text(TASK)
    script = folder / f"{kind}.sbatch"
    # Back in the queue it has nothing left to do.
    script.write_text(
        "#!/bin/bash\n[ \"${SLURM_RESTART_COUNT:-0}\" -gt 0 ] && exit 0\n"
        f"cd {shlex.quote(str(folder))} || exit 1\nKIND={kind} exec srun --export=ALL --ntasks=1 bash task.sh\n"
    )  # fmt: skip
    words = ["sbatch", "--parsable", "--requeue", *(f"--{name}={value}" for name, value in told.items()), str(script)]
    return slurm.run(words).strip().partition(";")[0]


def _not_started(job: _Trial) -> Finding | None:
    """Waits until it has started; else why not."""
    deadline = time.monotonic() + START
    running = None
    while not job.heard():
        record = slurm.record(job.id)
        running = running or (time.monotonic() if record.get("JobState") != "PENDING" else None)
        if running is not None and time.monotonic() > running + END:
            said = f"job {job.id} ran on {record.get('BatchHost')} and wrote nothing to {job.folder.parent}"
            remedy = "put runs where nodes see them: runs_dir=PATH on a shared file system"
            return Finding("fail", "folder on nodes", said, remedy)
        if time.monotonic() > deadline and running is None:
            said = f"job {job.id} did not start within {START:.0f} s ({record.get('Reason')})"
            remedy = "try again when the partition is less busy, or --partition=OTHER"
            return Finding("warn", "probe", said, remedy)
        time.sleep(0.3)
    return None


def _shared_and_cancelled(job: _Trial) -> Iterator[Finding]:
    node = job.heard()["start"][1]
    yield Finding("ok", "folder on nodes", f"{node} writes to {job.folder.parent}")
    if node == socket.gethostname():
        yield Finding("ok", "locks on nodes", f"not tried: {node} is this machine")
    else:
        yield _lock_of_ours(job, node)
        yield _file_of_ours(job, node)
    began = time.monotonic()
    slurm.run(["scancel", job.id])
    told, took = "TERM" in job.wait({"TERM"}, END), time.monotonic() - began
    yield check(told, "scancel", f"TERM reached a task {took:.1f} s after scancel",
                f"no TERM reached a task within {END:.0f} s",
                "a cancelled run is killed without a save: lower checkpoint.every_minutes", "fail")  # fmt: skip


def _lock_of_ours(job: _Trial, node: str) -> Finding:
    """Whether a node sees that this machine holds a lock, by the exit status of `flock`."""
    status = job.heard()["lock"][1]
    if status not in ("0", "9"):
        said = f"not tried: flock on {node} ended with {status}"
        return Finding("warn", "locks on nodes", said, "util-linux has it; without, nothing is known of locks there")
    return check(status == "9", "locks on nodes", f"{node} sees that this machine holds a lock",
                 f"{node} takes a lock that this machine holds: each has locks of its own", ALONE)  # fmt: skip


def _file_of_ours(job: _Trial, node: str) -> Finding:
    """How long until a node sees a new file, and this machine its answer, by one clock."""
    began = time.monotonic()
    (job.folder / "question").touch()
    while not (seen := (job.folder / "answer").exists()) and time.monotonic() - began < SEEN:
        time.sleep(0.1)
    took = time.monotonic() - began
    said = f"{node} saw a new file, and this machine its answer, after {took:.1f} s"
    if not seen:
        said = f"{node} and this machine did not see each other's new files within {SEEN:g} s"
    return check(seen and took <= PROMPT, "files on nodes", said, said,
                 "caches of the network file system: ranks and attempts look again, status and report are as late; "
                 "NFS: actimeo=1 where it is mounted")  # fmt: skip


def _warned_and_requeued(job: _Trial) -> Iterator[Finding]:
    heard = job.wait({"accepted", "refused"}, LIMIT + END)
    if "USR2" not in heard:
        yield Finding("fail", "time limit", f"no USR2 reached a task {LEAD} s before the time limit",
                      "a time limit ends runs without a save: ask why --signal is not heeded here")  # fmt: skip
    else:
        before = LIMIT - (heard["USR2"][0] - heard["start"][0])
        said = f"USR2 reached a task {before:.0f} s before the time limit; {LEAD} s were asked for"
        remedy = f"add {LEAD - before:.0f} s to cluster.lead"
        yield check(before >= LEAD - 5, "time limit", f"{said} (Slurm may be 30 s early)", said, remedy)
    if "accepted" in heard:
        record = slurm.record(job.id)
        if int(record.get("Restarts", "0")) or record.get("JobState") in ("PENDING", "COMPLETING"):
            yield Finding("ok", "requeue from a task", "a task put its job back in the queue")
            return
        heard["refused"] = (0.0, f"scontrol requeue said nothing, and the job is {record.get('JobState')}")
    reason = heard.get("refused", (0.0, "the task was over before it could ask"))[1]
    yield Finding("fail", "requeue from a task", f"a task could not put its job back in the queue: {reason}",
                  "runs are saved, and go on when the same command is typed (python -m launch resume); ask for "
                  "scontrol on the nodes, and for requeueing to be allowed")  # fmt: skip


def _clear(jobs: list[str]) -> None:
    """Ends the jobs, and waits until Slurm says that they are over."""
    deadline = time.monotonic() + END
    with contextlib.suppress(SlurmError):
        while time.monotonic() < deadline:
            jobs = [job for job in jobs if slurm.record(job).get("JobState") in ACTIVE]
            if not jobs:
                return
            slurm.run(["scancel", *jobs])
            time.sleep(0.3)
