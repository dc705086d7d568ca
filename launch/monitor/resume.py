"""`python -m launch resume [SWEEP]`: the sweep's own command, read back from sweep.yaml and typed again."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from golang.errors import GolangError
from golang.runfolder.files import read_json
from golang.runfolder.folder import RunFolder
from golang.sources import ROOT
from launch.sweep.paths import Sweep, folders
from launch.text import shown

RUN = ROOT / "run.py"  # the one program that resume starts


class ResumeError(GolangError):
    """The sweep's command can't be typed again from here."""


@dataclass(frozen=True)
class Typed:
    """What was typed last for a sweep."""

    sweep: Path
    command: tuple[str, ...]  # run.py and its arguments
    cwd: Path
    runs: frozenset[str] = frozenset()  # the ids it asked for

    @property
    def line(self) -> str:
        """As a person would type it."""
        return f"cd {shown([str(self.cwd)])} && python {shown(self.command)}"

    def type_again(self) -> int:
        """Runs the command where it was typed; its exit status."""
        return subprocess.run([sys.executable, str(RUN), *self.command[1:]], cwd=self.cwd, check=False).returncode

    def left_out(self) -> list[str]:
        """Folders of unfinished runs that the command does not ask for."""
        there = folders(self.sweep)
        return [path.name for id, path in there.items() if id not in self.runs and not RunFolder(path).done]


def read(sweep: Path, trusted: bool = False) -> Typed:
    """The last command of a sweep. Raises ResumeError for a file that is missing, damaged or (unless `trusted`: its
    settings may run commands as you) not written here by this user, and for a program that is not our run.py."""
    file = Sweep(sweep).description
    if not file.is_file():
        raise ResumeError(
            f"{sweep} has no {file.name}, so nothing says what was typed; it is written with cluster=slurm or "
            "cluster=local. Type the command itself"
        )
    values = read_json(file)
    command, cwd, runs = values.get("command"), values.get("cwd"), values.get("runs", [])
    if not (_texts(command) and command and isinstance(cwd, str) and _texts(runs)):
        raise ResumeError(f"{file} is damaged: it does not say what was typed, and where. Type the command itself")
    typed = Typed(sweep, tuple(command), Path(cwd), frozenset(runs))
    if not trusted and (doubt := next(_doubts(file, values.get("folder")), "")):
        raise ResumeError(
            f"{file} {doubt}, and its command would run as you. Read it: {typed.line}\n"
            "If you trust it: python -m launch resume --yes " + shown([str(sweep)])
        )
    if not typed.cwd.is_dir():
        raise ResumeError(f"{cwd}, where {file} was typed, is gone. From where its paths hold, type: python "
                          f"{shown(command)}")  # fmt: skip
    program = (typed.cwd / command[0]).resolve()
    if program != RUN:
        raise ResumeError(f"{file} was typed with {program}, and this is {RUN.parent}; type it yourself: {typed.line}")
    return typed


def _doubts(file: Path, folder: object) -> Iterator[str]:
    """Why the file may not be the launcher's own. A copied or unpacked sweep has another inode than it says."""
    own, around = file.lstat(), file.parent.stat()
    if {own.st_uid, around.st_uid} != {os.getuid()}:
        yield "is not yours"
    if around.st_mode & 0o077 and (own.st_mode | around.st_mode) & 0o022:
        yield "can be written by others"
    if file.is_symlink() or folder != around.st_ino:
        yield "was not written in this place (a copy?)"


def _texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)
