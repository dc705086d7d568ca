"""A run's folder: the whole truth of the run, owned by one process group at a time."""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import socket
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from golang.config import Config
from golang.engine import lock
from golang.engine.private import has_no_links, make_private, open_private, read_plain
from golang.errors import ConfigError, DataError, RunBusyError
from golang.identity import result_settings, run_id

FOREIGN = ("wandb",)  # parts of the folder in which W&B's client writes, which makes links of its own


class RunFolder:
    """Paths and small files of one run. Folders are private to their owner."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.config_file = self.path / "config.yaml"
        self.metrics_file = self.path / "metrics.jsonl"
        self.done_file = self.path / "DONE"
        self.checkpoints = self.path / "checkpoints"
        self.attempts = self.path / "attempts"

    @classmethod
    def create(cls, path: Path | str, config: Config) -> RunFolder:
        """Makes the folder for `config`, or takes the one that exists.

        Settings outside the run's identity may change and are written anew. Raises ConfigError if the folder belongs
        to another run, DataError if it can't be written.
        """
        run = cls(path)
        try:
            for folder in (run.path, run.checkpoints, run.attempts):
                make_private(folder)
            has_no_links(run.path, FOREIGN)
        except OSError as error:
            raise DataError(
                f"can't make the run folder {run.path}: {error.strerror}; choose another with run_dir=PATH"
            ) from error
        if run.config_file.exists():
            there = run.config()
            if run_id(there) != run_id(config):
                mine, theirs = result_settings(config), result_settings(there)
                differing = sorted(key for key in mine.keys() | theirs.keys() if mine.get(key) != theirs.get(key))
                raise ConfigError(
                    f"{run.path} belongs to another run ({run_id(there)}, this is {run_id(config)}); they differ in "
                    f"{', '.join(differing)}. Choose another folder with run_dir=PATH, or name=OTHER to start afresh"
                )
        write_atomically(run.config_file, yaml_text(config.to_dict()))
        return run

    def config(self) -> Config:
        """The frozen settings. Raises ConfigError if they are missing or damaged."""
        try:
            return Config.from_dict(json.loads(read_plain(self.config_file)))
        except FileNotFoundError as error:
            raise ConfigError(f"{self.path} is no run folder: it has no config.yaml") from error
        except OSError as error:
            raise ConfigError(f"can't read {self.config_file}: {error.strerror}") from error
        except (ValueError, RecursionError, OverflowError) as error:
            raise ConfigError(
                f"{self.config_file} is damaged ({error}); restore it or start afresh with name=OTHER"
            ) from error

    @property
    def done(self) -> bool:
        return self.done_file.exists()

    def attempt_numbers(self) -> list[int]:
        if not self.attempts.is_dir():
            return []
        return sorted(int(path.name) for path in self.attempts.iterdir() if re.fullmatch(r"\d+", path.name))

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        """Owns the run while entered. Raises RunBusyError, naming the holder, if another process owns it."""
        try:
            with lock.hold(self.path / "lock"):
                yield
        except lock.HeldError as error:
            raise RunBusyError(
                f"{self.path} is being trained already by {error}; wait for it, stop it (kill -TERM saves first), or "
                "start another run with name=OTHER"
            ) from None
        except OSError as error:
            raise DataError(f"can't lock {self.path / 'lock'}: {error.strerror}; is it a file of this run?") from error

    def start_attempt(self, world_size: int, versions: Mapping[str, str], resumed_from: str | None) -> Attempt:
        """A new attempt, numbered after the last; `resumed_from` is the checkpoint file it continues."""
        numbers = self.attempt_numbers()
        attempt = Attempt(self, numbers[-1] + 1 if numbers else 0)
        attempt.path.mkdir(mode=0o700)
        facts = {
            "attempt": attempt.number,
            "resumed_from": resumed_from,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "world_size": world_size,
            "started": now(),
            "versions": dict(versions),
        }
        write_atomically(attempt.path / "start.json", json.dumps(facts, indent=1))
        return attempt

    def parent_checkpoint(self, attempt: int) -> str | None:
        """The checkpoint that an attempt continued; None if it started afresh or left no record."""
        facts = read_json(self.attempts / f"{attempt:02d}" / "start.json")
        return None if facts is None else facts.get("resumed_from")


class Attempt:
    """One life of a run: a numbered folder for what it says about itself."""

    def __init__(self, run: RunFolder, number: int) -> None:
        self.run = run
        self.number = number
        self.path = run.attempts / f"{number:02d}"

    @property
    def newest(self) -> bool:
        return self.run.attempt_numbers()[-1] == self.number

    def fence(self) -> None:
        """Raises RunBusyError once a newer attempt has taken over: this one's node had been given up, and came back."""
        if not self.newest:
            raise RunBusyError(
                f"attempt {self.run.attempt_numbers()[-1]} of {self.run.path} has taken over from this one "
                f"({self.number}), which leaves it the run"
            )

    def write_status(self, state: str, step: int, total: int, **facts: object) -> None:
        status = {"state": state, "step": step, "total": total, "updated": now(), **facts}
        write_atomically(self.path / "status.json", json.dumps(status))

    def write_cause(self, cause: str, step: int, **facts: object) -> None:
        write_atomically(self.path / "cause.json", json.dumps({"cause": cause, "step": step, "at": now(), **facts}))


def write_atomically(path: Path, text: str) -> None:
    """Replaces a file as a whole: it holds the old text or the new one, whatever happens."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with os.fdopen(open_private(temporary), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def read_json(path: Path) -> dict[str, Any] | None:
    """A JSON object from a file that may be missing or half-written."""
    try:
        value = json.loads(read_plain(path))
    except (OSError, ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def real(value: object) -> float | None:
    """What a file says where a number is to stand; None for anything else, and for one that nothing counts."""
    try:
        found = float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else math.nan
    except OverflowError:
        return None
    return found if abs(found) < 1e100 else None


def yaml_text(values: Mapping[str, Any]) -> str:
    """The settings in the part of YAML that is JSON too, so that reading them back needs no YAML library."""
    text = json.dumps(values, indent=2, ensure_ascii=False)
    # YAML 1.1 takes 1e-06 for text, but 1.0e-06 for the number that JSON sees in both.
    return re.sub(r"(?m)(?<=[ \[])(-?\d+)e([-+]?\d+)(?=,?$)", r"\1.0e\2", text) + "\n"


def now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")
