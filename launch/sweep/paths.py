"""What lies in a sweep's folder, and in the folder of a submission."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Sequence
from pathlib import Path

from golang.errors import ConfigError
from golang.runfolder.files import make_private, read_plain, refuse_link

_FOLDER = re.compile(r".+-([0-9a-f]{8})")


class Sweep:
    """Paths in a sweep's folder."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.description = path / "sweep.yaml"  # what was typed last
        self.ledger = path / "ledger.jsonl"
        self.lock = path / "lock"  # held by the launcher that submits
        self.code = path / "code"  # holds snapshots
        self.submissions = path / "submissions"
        self.report = path / "report"
        self.exports = path / "export"  # for other tools, a folder for each
        self.report_text = self.report / "report.md"
        self.report_picture = self.report / "report.png"
        self.report_page = self.report / "index.html"

    def turn_file(self, number: int) -> Path:
        """Held by a run that trains on this machine while it is its turn."""
        return self.path / f".turn{number}.lock"


class Submission:
    """Runs that go out together, and what submitit keeps of them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.id = path.name
        self.list_file = path / "runs"  # their folders, a line each, in the order of the array
        self.script = path / "job.sbatch"
        self.task_script = path / "job.sh"  # of a run on this machine

    def make(self, runs: Sequence[Path]) -> None:
        """Raises OSError, and ConfigError for a link."""
        refuse_link(self.path.parent)
        make_private(self.path)
        self.list_file.write_text("".join(f"{run}\n" for run in runs))

    def members(self) -> list[str]:
        """The ids of the runs, in their order; none for a submission of another sweep."""
        with contextlib.suppress(OSError):
            return [line.rpartition("-")[2] for line in read_plain(self.list_file).splitlines()]
        return []

    def of_run(self, number: int) -> Submission:
        """Of one of its runs alone, as runs of this machine have it."""
        return Submission(self.path / str(number))


def folders(sweep: Path) -> dict[str, Path]:
    """The run folders of a sweep by id. Raises ConfigError for an id that is there twice, and for a link."""
    refuse_link(sweep)
    found: dict[str, Path] = {}
    with contextlib.suppress(OSError):  # there is none yet, or it will be said when it is written to
        for entry in os.scandir(sweep):
            if (match := _FOLDER.fullmatch(entry.name)) and entry.is_dir():
                if (other := found.get(match[1])) is not None:
                    raise ConfigError(
                        f"{sweep} holds run {match[1]} twice: {other.name}, {entry.name}; move one of them elsewhere"
                    )
                refuse_link(sweep / entry.name)
                found[match[1]] = sweep / entry.name
    return found
