"""`python -m launch resume [SWEEP]`: the sweep's own command, read back from sweep.yaml and typed again."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from golang.errors import GolangError
from golang.runfolder.files import read_json
from golang.runfolder.folder import RunFolder
from golang.sources import ROOT
from launch.sweep.paths import Sweep, folders
from launch.text import shown

RUN = ROOT / "run.py"  # this and the installed `golang train` are all that resume starts


class ResumeError(GolangError):
    """The sweep's command can't be typed again from here."""


@dataclass(frozen=True)
class Typed:
    """What was typed last for a sweep."""

    sweep: Path
    command: tuple[str, ...]  # a program and its arguments
    cwd: Path
    runs: frozenset[str] = frozenset()  # the ids it asked for

    @property
    def program(self) -> Path:
        """What was started, without the links on the way to it."""
        return (self.cwd / self.command[0]).resolve()

    @property
    def ours(self) -> bool:
        """Whether it is a program of the code that this is."""
        return self.program == RUN or (self._installed and self.program.parent in _scripts())

    @property
    def _installed(self) -> bool:
        return self.program.name == "golang" and self.command[1:2] == ("train",)

    @property
    def line(self) -> str:
        """As a person would type it."""
        return f"cd {shown([str(self.cwd)])} && {self.call}"

    @property
    def call(self) -> str:
        """The same, without going where it was typed."""
        return shown(self.command) if self._installed else f"python {shown(self.command)}"

    def type_again(self) -> int:
        """Runs the command where it was typed; its exit status."""
        words = [sys.executable, str(self.program), *self.command[1:]]
        return subprocess.run(words, cwd=self.cwd, check=False).returncode

    def left_out(self) -> list[str]:
        """Folders of unfinished runs that the command does not ask for."""
        there = folders(self.sweep)
        return [path.name for id, path in there.items() if id not in self.runs and not RunFolder(path).done]


def read(sweep: Path, trusted: bool = False) -> Typed:
    """The last command of a sweep. Raises ResumeError for a file that is missing, damaged or (unless `trusted`: its
    settings may run commands as you) not written here by this user, and for a program that is not ours."""
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
        raise ResumeError(f"{cwd}, where {file} was typed, is gone. From where its paths hold, type: {typed.call}")
    if not typed.ours:
        raise ResumeError(f"{file} was typed with {typed.program}, and this is {ROOT}; type it yourself: {typed.line}")
    return typed


def _scripts() -> set[Path]:
    """Where installed programs of this Python lie."""
    schemes = sysconfig.get_default_scheme(), sysconfig.get_preferred_scheme("user")
    return {Path(sysconfig.get_path("scripts", scheme)).resolve() for scheme in schemes}


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
