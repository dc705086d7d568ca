"""A run's folder: the whole truth of the run, owned by one process group at a time. Every path in it is built here."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from golang.config import Config
from golang.config.identity import result_settings, run_id
from golang.errors import ConfigError, DataError, RunBusyError
from golang.runfolder import elsewhere, files, lock
from golang.runfolder.files import make_private, now, read_json

FOREIGN = ("wandb",)  # parts of the folder in which W&B's client writes, which makes links of its own


class RunFolder:
    """Paths and small files of one run. Folders are private to their owner."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.config_file = self.path / "config.yaml"
        self.overrides_file = self.path / "overrides.yaml"  # what the launcher was asked for
        self.script = self.path / "job.sbatch"  # restarts the run without the launcher
        self.notify_file = self.path / "notify.sh"  # the line of notify.command
        self.metrics_file = self.path / "metrics.jsonl"
        self.done_file = self.path / "DONE"
        self.lock_file = self.path / "lock"
        self.checkpoints = self.path / "checkpoints"
        self.attempts = self.path / "attempts"
        self.logs = self.path / "logs"  # of batch script and tasks
        self.wandb = self.path / "wandb"
        self.evaluation = self.path / "evaluation"
        self.probe_file = self.evaluation / "linear.json"  # of the quick probe of a finished run
        self.untrained_file = self.evaluation / "random_init.json"  # of the same probe, before the first step
        self.probes_file = self.evaluation / "during.jsonl"  # of the probes taken while it trains
        self.features_file = self.evaluation / "features.npz"
        self.curves_file = self.evaluation / "curves.png"
        self.attention_file = self.evaluation / "attention.png"
        self.ticket_file = self.wandb / "run.json"  # under which id W&B knows the run
        self.publish_lock = self.wandb / "eval.lock"  # of who sends its evaluations' results to W&B

    @classmethod
    def create(cls, path: Path | str, config: Config) -> RunFolder:
        """Makes the folder for `config`, or takes the one that exists; settings outside the run's identity are written
        anew. Raises ConfigError if the folder belongs to another run, DataError if it can't be written."""
        run = cls(path)
        try:
            run.make(config)
        except OSError as error:
            raise DataError(
                f"can't make the run folder {run.path}: {error.strerror}; choose another with run_dir=PATH"
            ) from error
        run.keep(config)
        return run

    def make(self, config: Config) -> None:
        """Makes what a run needs to begin. Raises OSError, and ConfigError for a link in it that is not the one
        checkpoint.folder asks for."""
        make_private(self.path)
        place = elsewhere.place(self.path, config)
        files.refuse_links_below(self.path, FOREIGN, elsewhere.link(self.checkpoints, place))
        if place is None:
            make_private(self.checkpoints)
        else:
            elsewhere.lead(self.checkpoints, place)
        make_private(self.attempts)

    def keep(self, config: Config, durable: bool = True) -> None:
        """Freezes the settings. Raises ConfigError if the folder belongs to another run, OSError."""
        if self.config_file.exists() and run_id(there := self.config()) != run_id(config):
            mine, theirs = result_settings(config), result_settings(there)
            differing = sorted(key for key in mine.keys() | theirs.keys() if mine.get(key) != theirs.get(key))
            raise ConfigError(
                f"{self.path} belongs to another run ({run_id(there)}, this is {run_id(config)}); they differ in "
                f"{', '.join(differing)}. Choose another folder with run_dir=PATH, or name=OTHER to start afresh"
            )
        values = config.to_dict()
        if self.config_file.exists():
            kept = json.loads(files.read_plain(self.config_file))
            values = _without_later(values, kept, Config().to_dict())
        files.write(self.config_file, files.yaml_text(values), durable)

    def config(self) -> Config:
        """The frozen settings. Raises ConfigError if they are missing or damaged."""
        try:
            return Config.from_dict(json.loads(files.read_plain(self.config_file)))
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
        files.look_again(self.path)
        return self.done_file.exists()

    def attempt_numbers(self) -> list[int]:
        if not self.attempts.is_dir():
            return []
        return sorted(int(path.name) for path in self.attempts.iterdir() if re.fullmatch(r"\d+", path.name))

    def last_attempt(self) -> Attempt | None:
        numbers = self.attempt_numbers()
        return Attempt(self, numbers[-1]) if numbers else None

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        """Owns the run while entered. Raises RunBusyError, naming the holder, if another process owns it; DataError if
        it can't be locked."""
        try:
            with lock.hold(self.lock_file):
                yield
        except lock.HeldError as error:
            raise RunBusyError(
                f"{self.path} is being trained already by {error}; wait for it, stop it (kill -TERM saves first), or "
                "start another run with name=OTHER"
            ) from None
        except OSError as error:
            raise DataError(f"can't lock {self.lock_file}: {error.strerror}; is it a file of this run?") from error

    @property
    def held(self) -> bool:
        """Whether a process on a machine that shares the folder's locks is training the run now."""
        return lock.held(self.lock_file)

    def start_attempt(self, world_size: int, versions: Mapping[str, str], resumed_from: str | None) -> Attempt:
        """A new attempt, numbered after the last; `resumed_from` is the checkpoint file it continues."""
        last = self.last_attempt()
        for number in itertools.count(last.number + 1 if last else 0):
            attempt = Attempt(self, number)
            with contextlib.suppress(FileExistsError):  # another machine made it, and the listing was of before
                attempt.path.mkdir(mode=0o700)
                break
        facts = {
            "attempt": attempt.number, "resumed_from": resumed_from, "host": socket.gethostname(), "pid": os.getpid(),
            "world_size": world_size, "started": now(), "versions": dict(versions),
        }  # fmt: skip
        files.write(attempt.start_file, json.dumps(facts, indent=1))
        return attempt

    def note(self, name: str, job: str, restarts: str) -> Path:
        """A note of one life of a Slurm job for its batch script (launch/node/job.sh)."""
        return self.attempts / f"{name}.{job}.{restarts}"

    def clean_wandb(self, job_type: str) -> Path:
        """Where W&B's client writes the run anew, as a whole, for `wandb sync`."""
        return self.wandb / f"clean-{job_type}"

    def meeting_file(self, life: str) -> Path:
        """Where rank 0 of one life of a job says at which address it listens."""
        return self.attempts / f"meeting.{life}.json"


class Attempt:
    """One life of a run: a numbered folder for what it says about itself."""

    def __init__(self, run: RunFolder, number: int) -> None:
        self.run, self.number = run, number
        self.path = run.attempts / f"{number:02d}"
        self.start_file = self.path / "start.json"
        self.status_file = self.path / "status.json"  # a heartbeat
        self.cause_file = self.path / "cause.json"
        self.wandb_log = self.path / "wandb.log"

    def log_file(self, rank: int) -> Path:
        return self.path / f"rank{rank}.log"

    def stacks_file(self, rank: int) -> Path:
        """The stacks of all threads of a rank that hung."""
        return self.path / f"rank{rank}.stacks"

    @property
    def newest(self) -> bool:
        return max(self.run.attempt_numbers(), default=0) <= self.number

    @property
    def told(self) -> bool:
        """Whether a newer attempt has taken over, and why this one ended is written down."""
        return self.cause_file.exists() and not self.newest

    def fence(self) -> None:
        """Raises RunBusyError once a newer attempt has taken over: this one's node had been given up, and came back."""
        if not self.newest:
            raise RunBusyError(
                f"attempt {self.run.attempt_numbers()[-1]} of {self.run.path} has taken over from this one "
                f"({self.number}), which leaves it the run"
            )

    def start(self) -> dict[str, Any]:
        """When, where and from what it began; empty without a record."""
        return read_json(self.start_file)

    def status(self) -> dict[str, Any]:
        """How far it had come at its last heartbeat; empty before the first."""
        return read_json(self.status_file)

    def cause(self) -> dict[str, Any]:
        """What ended it: `cause` is one of `golang.runfolder.causes`; empty while nobody has said."""
        return read_json(self.cause_file)

    def failures(self) -> list[dict[str, Any]]:
        """What its ranks failed of: cause, retry, message, rank, host of each that left a word, by rank."""
        return [facts for path in sorted(self.path.glob("failure.rank*.json")) if (facts := read_json(path))]

    def write_status(self, state: str, step: int, total: int, **facts: object) -> None:
        status = {"state": state, "step": step, "total": total, "updated": now(), **facts}
        files.write(self.status_file, json.dumps(status))

    def write_cause(self, cause: str, step: int, **facts: object) -> None:
        files.write(self.cause_file, json.dumps({"cause": cause, "step": step, "at": now(), **facts}))

    def write_failure(self, rank: int, cause: str, retry: bool, message: str) -> None:
        """What a rank failed of, for `failures`. Raises OSError."""
        facts = {"cause": cause, "retry": retry, "message": message, "rank": rank, "host": socket.gethostname()}
        files.write(self.path / f"failure.rank{rank}.json", json.dumps(facts))


def _without_later(values: dict[str, Any], kept: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """`values` less the settings that came after `kept` and have their default: the code that a run keeps may not know
    them."""
    found = {}
    for key, value in values.items():
        if key in kept and isinstance(value, dict) and isinstance(kept[key], Mapping):
            found[key] = _without_later(value, kept[key], defaults[key])
        elif key in kept or value != defaults[key]:
            found[key] = value
    return found
