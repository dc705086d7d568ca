"""The code as it is now, kept beside the runs: what queued jobs run, whatever happens to the working tree."""

from __future__ import annotations

import fnmatch
import hashlib
import logging
import os
import re
import shutil
import subprocess
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from golang.runfolder.files import make_private, refuse_link
from golang.sources import ROOT, installed
from launch.errors import SubmitError
from launch.sweep.paths import Sweep

log = logging.getLogger(__name__)

_PARTS = ("golang", "launch")  # what a task imports
_KINDS = ("*.py", "*.yaml", "*.yml", "*.sh", "*.json", "*.txt", "*.toml", "*.ttf")
_SECRETS = (  # hidden files and folders among them
    "*.pem", "*/.*", "*.env*", "*key*", "*secret*", "*credential*", "*token*", "*passw*", "*service*account*",
    "*kubeconfig*", "id_[der]*", "*wandb/*",
)  # fmt: skip
_LARGEST = 4 * 2**20  # bytes of a file that is still code


class Layout(NamedTuple):
    """Where a snapshot has what its jobs call."""

    batch: str  # what the batch script sources
    program: str  # what each task runs
    call: str  # what submitit's pickles name


_LAYOUT = Layout("launch/node/job.sh", "launch.node.entry", "launch.node.entry:Task")
_EARLIER = Layout("launch/job.sh", "launch.entry", "launch.entry:Run")


def layout(code: Path) -> Layout:
    """Of a snapshot, which may be of before the modules lay where they do now."""
    return _EARLIER if (code / _EARLIER.batch).is_file() else _LAYOUT


def take(sweep: Path, root: Path = ROOT) -> Path:
    """The snapshot of the code at `root`, written unless it is there. Raises SubmitError if it can't be."""
    files = [(name, (root / name).read_bytes()) for name in code_files(root)]
    folder = Sweep(sweep).code / _digest(files)
    if kept(sweep, folder.name) is not None:
        return folder
    temporary = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}.tmp")
    try:
        for name, data in files:
            target = temporary / name
            make_private(target.parent)
            target.write_bytes(data)
        temporary.rename(folder)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        if not folder.is_dir():  # else another launcher was faster
            raise SubmitError(
                f"can't keep a copy of the code in {folder.parent}: {error.strerror}; make room or choose another "
                "folder with runs_dir=PATH"
            ) from error
    return folder


def kept(sweep: Path, name: str) -> Path | None:
    """The snapshot of that name, None if there is none. Bytecode in it goes: Python would believe it unread. Raises
    SubmitError for a folder that does not hold the code that its name says."""
    folder = Sweep(sweep).code / name
    refuse_link(folder.parent)
    if not re.fullmatch(r"[0-9a-f]{12}", name) or not os.path.lexists(folder):
        return None
    files, odd = [], folder.is_symlink()
    for path in sorted(folder.rglob("*")) if not odd else ():
        if path.name == "__pycache__" and path.is_dir() and not path.is_symlink():
            gone = folder.with_name(f".{uuid.uuid4().hex}.tmp")
            path.rename(gone)  # at once: a run that compiles just now may write to it
            shutil.rmtree(gone, ignore_errors=True)
        elif "__pycache__" in path.relative_to(folder).parent.parts:
            continue
        elif path.is_symlink() or not (path.is_dir() or path.is_file()):
            odd = True
        elif path.is_file():
            files.append((str(path.relative_to(folder)), path.read_bytes()))
    if odd or _digest(sorted(files)) != name:
        raise SubmitError(f"{folder} does not hold the code that it is named after; delete it, and it is written anew")
    return folder


def _digest(files: Iterable[tuple[str, bytes]]) -> str:
    digest = hashlib.sha256()
    for name, data in files:
        digest.update(f"{name}\0{len(data)}\0".encode() + data)
    return digest.hexdigest()[:12]


def code_files(root: Path = ROOT) -> list[str]:
    """Paths below `root` that a run may need: what git has or would take, or all code where there is no git, or only
    that of others around an installed package."""
    # Of a checkout that is someone else's git would say nothing; and a monitor of theirs is not to be run for it.
    git = ["git", "-c", "safe.directory=*", "-c", "core.fsmonitor=false", "-C", str(root)]
    command = [*git, "ls-files", "-t", "--cached", "--others", "--exclude-standard", "-z", *_PARTS]
    asked = shutil.which("git") and not installed(root)
    listed = subprocess.run(command, capture_output=True, check=False) if asked else None
    if listed is not None and listed.returncode == 0 and listed.stdout:
        lines = [line for line in listed.stdout.decode(errors="surrogateescape").split("\0") if line]
        tracked = {line[2:] for line in lines if not line.startswith("?")}
        names = {line[2:] for line in lines}
    else:
        names = {str(path.relative_to(root)) for part in _PARTS for path in (root / part).rglob("*")}
        tracked = names
    found = {name for name in names if _is_code(root / name) and not _may_be_secret(name, name in tracked)}
    modules = {name for name in names if name.endswith(".py") and "/." not in name and (root / name).is_file()}
    if missing := sorted(modules - found):
        log.warning(
            "jobs run without %s: a link, above %d MiB, or named like a key; `git add` a module that is about keys",
            ", ".join(missing), _LARGEST // 2**20,
        )  # fmt: skip
    return sorted(found)


def _is_code(path: Path) -> bool:
    if path.is_symlink():
        return False  # to a file elsewhere, or to one that is itself excluded
    kind = any(fnmatch.fnmatch(path.name, kind) for kind in _KINDS)
    return kind and "__pycache__" not in path.parts and path.is_file() and path.stat().st_size <= _LARGEST


def _may_be_secret(name: str, tracked: bool) -> bool:
    if tracked and name.endswith(".py"):
        return False  # a module that is about keys
    parts = (Path(name).name.lower(), name.lower())
    return any(fnmatch.fnmatch(part, secret) for part in parts for secret in _SECRETS)
