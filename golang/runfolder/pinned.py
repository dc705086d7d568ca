"""`model.init` and `evaluation.checkpoint`: which weights a run starts from or measures. A file may move or change, so
the settings carry the SHA-256 of its content, which counts in the run's identity, beside the path, which does not.
"""

from __future__ import annotations

import functools
import hashlib
from dataclasses import replace
from pathlib import Path

from golang.config import Config
from golang.config.paths import expanded
from golang.errors import CheckpointError, ConfigError
from golang.runfolder.checkpoints import find


def pinned(config: Config) -> Config:
    """`config` with `model.init`, `evaluation.checkpoint` and `checkpoint.folder` absolute, and the digests of the
    first two's files beside them. Of a run's folder the newest whole checkpoint is taken. What has a digest, as in a
    frozen run, stays as it is, and no file is read; so does the checkpoint of a run whose end is to be evaluated.

    Raises ConfigError for a file that is not there, or a digest without one; CheckpointError for a run without one.
    """
    if config.checkpoint.folder is not None:
        folder = str(expanded(config.checkpoint.folder).absolute())
        config = replace(config, checkpoint=replace(config.checkpoint, folder=folder))
    evaluation = config.evaluation
    if evaluation.checkpoint is not None and not (evaluation.checkpoint_sha256 or evaluation.run):
        file = find(expanded(evaluation.checkpoint).absolute())
        evaluation = replace(evaluation, checkpoint=str(file), checkpoint_sha256=digest(file))
        config = replace(config, evaluation=evaluation)
    model = config.model
    if model.init is None and model.init_sha256:
        raise ConfigError(f"model.init_sha256={model.init_sha256} needs model.init, the file it is of")
    if model.init is None or model.init_sha256:
        return config
    path = expanded(model.init).absolute()
    if not path.is_file():
        raise ConfigError(
            f"model.init={model.init} is no file; give a checkpoint (any layout of `python -m golang.weights`)"
        )
    return replace(config, model=replace(model, init=str(path), init_sha256=digest(path)))


def check(config: Config) -> Path:
    """The file of `model.init`. Raises CheckpointError if it is gone, or no longer what the settings were made with."""
    return unchanged("model.init", config.model.init or "", config.model.init_sha256)


def unchanged(setting: str, name: str, sha256: str) -> Path:
    """The file `name` of a setting. Raises CheckpointError if it is gone, or its content is not what it was."""
    path = Path(name)
    if not path.is_file():
        raise CheckpointError(f"{setting}={path} is gone; restore it, or say where it is now")
    found = digest(path)
    if found != sha256:
        raise CheckpointError(
            f"{setting}={path} has changed since this run was set up (SHA-256 {found[:12]}…, then {sha256[:12]}…); "
            "restore it, or type the command anew for another run"
        )
    return path


def digest(path: Path) -> str:
    """SHA-256 of a file's content."""
    facts = path.stat()
    return _digest(path, facts.st_size, facts.st_mtime_ns)


@functools.lru_cache(maxsize=64)
def _digest(path: Path, size: int, modified: int) -> str:
    """Once a file, however many runs of a grid start from it."""
    found = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            found.update(block)
    return found.hexdigest()
