"""File systems as they are: locks of one machine alone, quotas, caches, files that belong to nobody."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from golang.config import Config
from golang.runfolder import lock
from golang.runfolder.folder import Attempt, RunFolder
from golang.runfolder.mounts import Mount, file_system
from launch.doctor import operations, storage, trial_jobs
from launch.doctor.finding import Finding
from launch.doctor.quota import Quota, read

ROOT = Path(__file__).resolve().parents[2]
NFS = Mount("nfs", "/home", ("rw", "vers=3", "nolock", "local_lock=all", "addr=10.0.0.1"))


@pytest.mark.parametrize(
    ("line", "own_locks", "late"),
    [
        ("rw,relatime - nfs4 s:/x rw,vers=4.2,local_lock=none,addr=10.0.0.1", "", 60),
        ("rw - nfs s:/x rw,vers=3,nolock,local_lock=all", "nolock", 60),
        ("rw - nfs s:/x rw,acregmin=1,acregmax=1,acdirmin=2,acdirmax=2,local_lock=flock", "local_lock=flock", 2),
        ("rw - nfs4 s:/x rw,noac,acregmax=9", "", 0),
        ("rw - lustre a@tcp:/x rw,flock,user_xattr", "", 0),
        ("rw - lustre a@tcp:/x rw,localflock", "localflock", 0),
        ("rw - ext4 /dev/x rw", "", 0),
    ],
)
def test_what_mount_options_tell(line: str, own_locks: str, late: float, tmp_path: Path) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(f"30 21 0:40 / {tmp_path} {line}\n")
    mount = file_system(tmp_path / "runs/x", mounts)
    assert (mount.own_locks, mount.late) == (own_locks, late)


def test_a_lock_of_one_machine_alone_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    assert lock.doubt(Path("/proc")) == ""
    monkeypatch.setattr(lock, "file_system", lambda folder: NFS)
    said = lock.doubt(Path("/home/me/runs"))
    assert said.startswith(
        "/home/me/runs is on nfs at /home, mounted with nolock: a lock that one machine holds is free"
    )
    assert "relies on Slurm" in said and "NFS: version 4" in said


def test_a_listing_of_before_ends_no_attempt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node that was here a minute ago, and believes what it saw."""
    run = RunFolder.create(tmp_path / "run", Config())
    assert Attempt(run, 3).newest
    for _ in range(2):
        run.start_attempt(1, {}, None)
    monkeypatch.setattr(run, "attempt_numbers", lambda: [0])
    mine = run.start_attempt(1, {}, None)
    assert mine.number == 2 and mine.newest and mine.start()["attempt"] == 2
    mine.fence()
    assert Attempt(RunFolder(run.path), 1).newest is False


def tried(folder: Path) -> dict[str, Finding]:
    folder.mkdir(mode=0o700)
    return {finding.what: finding for finding in operations.attempt_all(folder)}


def refuse(number: int) -> Callable[..., None]:
    def fail(*arguments: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail


def test_all_that_runs_ask_for_is_there(tmp_path: Path) -> None:
    assert {what: found.level for what, found in tried(tmp_path / "x").items()} == dict.fromkeys(
        ("owner", "locks", "files"), "ok"
    )


@pytest.mark.parametrize(
    ("flock", "level", "said"),
    [
        (refuse(errno.ENOSYS), "fail", "flock: Function not implemented; no run starts without locks"),
        (refuse(errno.EIO), "fail", "flock: Input/output error; no run starts"),
        (lambda file, how: None, "fail", "flock gives one lock to two"),
    ],
)
def test_locks_that_are_none(
    flock: Callable[..., None], level: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fcntl, "flock", flock)
    found = tried(tmp_path / "x")["locks"]
    assert found.level == level and found.said.startswith(said) and "runs_dir=PATH" in found.remedy


def test_locks_of_this_machine_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operations, "file_system", lambda folder: NFS)
    found = tried(tmp_path / "x")["locks"]
    assert found.level == "warn" and found.said.startswith("mounted with nolock:") and "-o flock" in found.remedy


def test_files_that_are_not_replaced_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "replace", refuse(errno.EBUSY))
    found = tried(tmp_path / "x")["files"]
    assert found.level == "fail" and "Device or resource busy" in found.said
    monkeypatch.setattr(Path, "replace", lambda old, new: (new.write_bytes(old.read_bytes()), old.unlink()))
    found = tried(tmp_path / "y")["files"]
    assert found.level == "fail" and found.said.startswith("a reader of a file that is replaced")


def test_folders_of_somebody_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o755)
    (found, *_) = operations.attempt_all(tmp_path / "open")
    assert found.level == "warn" and "have mode 755" in found.said
    mine = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: mine + 7)
    found = tried(tmp_path / "squashed")["owner"]
    assert found.level == "fail" and "belongs to" in found.said and "root_squash" in found.remedy


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("Disk quotas for user me (uid 1000): none\n", None),
        ("", None),
        ("Disk quotas for user me (uid 1000): \n  Filesystem blocks quota limit grace files quota limit grace\n"
         "s:/home 3145728* 2097152 4194304 1764600000 1234 0 0 0\n", Quota(2**30, None)),
        ("/lustre/scratch 52428800 0 104857600 - 90210 100000 120000 -\n", Quota(50 * 2**30, 29790)),
        ("/lustre/a-long-name\n     104857601* 104857600 0 6d 5 0 0 -\n", Quota(0, None)),
        ("/lustre/free 5 0 0 - 7 0 0 -\n", Quota(None, None)),
    ],
)  # fmt: skip
def test_quotas(text: str, left: Quota | None) -> None:
    assert read(text) == left


def test_a_quota_that_leaves_too_little(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "quota"
    program.write_text('#!/bin/sh\necho "s:/home $1 $2"; echo "$4 3145728 0 4194304 0 9000 0 10000 0"; exit 1\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    found = {finding.what: finding for finding in storage.look(tmp_path, 2**31, unseen=False)}
    assert found["quota"].level == "fail" and found["quota"].said.startswith("1.0 GiB left; the runs' checkpoints need")
    assert found["quota of files"].level == "warn" and found["room"].level == "ok"
    program.write_text("#!/bin/sh\n")
    found = {finding.what: finding for finding in storage.look(tmp_path, 0, unseen=False)}
    assert found["quota"].said.startswith("not known")


def test_what_is_told_of_a_mount(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "file_system", lambda folder: NFS)
    found = {finding.what: finding for finding in storage.look(tmp_path, 0, unseen=True)}
    assert found["file system"].said.endswith("is on nfs (/home, vers=3, nolock, local_lock=all)")
    assert "may be seen 60 s late" in found["attribute cache"].said


MOUNTS = """
mount -t tmpfs -o size=80m,nr_inodes=100 small "$1" && cd "$1" && "$2" -m launch doctor --json >"$3"/small
mount -o remount,ro "$1" && "$2" -m launch doctor --json >"$3"/read-only
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts of one's own need root")
def test_a_small_file_system_and_one_to_read_only(tmp_path: Path) -> None:
    (tmp_path / "mount").mkdir()
    words = ["unshare", "--mount", "sh", "-c", MOUNTS, "sh", str(tmp_path / "mount"), sys.executable, str(tmp_path)]
    subprocess.run(words, env={**os.environ, "PYTHONPATH": str(ROOT)}, timeout=60, check=False)
    small, read_only = (
        {finding["what"]: finding for finding in json.loads((tmp_path / name).read_text())}
        for name in ("small", "read-only")
    )
    assert "is on tmpfs" in small["file system"]["said"] and small["locks"]["level"] == "ok"
    assert small["room"]["level"] == small["files left"]["level"] == "warn"
    assert read_only["run folder"]["level"] == "fail" and "Read-only" in read_only["run folder"]["said"]


def a_trial(folder: Path, *lines: str) -> trial_jobs._Trial:
    (folder / "cancel.log").write_text("".join(f"1.0 {line}\n" for line in lines))
    return trial_jobs._Trial("cancel", folder, "7")


@pytest.mark.parametrize(
    ("status", "level", "said"),
    [
        ("9", "ok", "n2 sees that this machine holds a lock"),
        ("0", "warn", "n2 takes a lock that this machine holds"),
        ("127", "warn", "not tried: flock on n2 ended with 127"),
    ],
)
def test_a_lock_on_a_node(status: str, level: str, said: str, tmp_path: Path) -> None:
    found = trial_jobs._lock_of_ours(a_trial(tmp_path, f"lock {status}", "start n2"), "n2")
    assert found.level == level and found.said.startswith(said) and bool(found.remedy) == (level == "warn")


@pytest.mark.parametrize(
    ("after", "prompt", "within", "level", "said"),
    [
        (0.0, 9.0, 60.0, "ok", "after "),
        (0.3, 0.25, 60.0, "warn", "after "),
        (60.0, 0.25, 1.0, "warn", "did not see each other's new files within 1 s"),
    ],
)
def test_files_that_a_node_sees_late(
    after: float, prompt: float, within: float, level: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial_jobs, "PROMPT", prompt)
    monkeypatch.setattr(trial_jobs, "SEEN", within)
    over = threading.Event()

    def answer() -> None:
        while not (tmp_path / "question").exists() and not over.wait(0.01):
            continue
        if not over.wait(after):
            (tmp_path / "answer").touch()

    node = threading.Thread(target=answer)
    node.start()
    began = time.monotonic()
    found = trial_jobs._file_of_ours(a_trial(tmp_path), "n2")
    over.set()
    node.join()
    assert found.level == level and said in found.said and time.monotonic() - began < 50
