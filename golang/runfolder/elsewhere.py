"""`checkpoint.folder`: a run's checkpoints on another disk, to which a link in the run's folder leads."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

from golang.config import Config
from golang.config.paths import expanded
from golang.errors import ConfigError
from golang.runfolder.files import make_private, read_json, write

OWNER = "run.json"  # in the place: which run it belongs to


def place(run: Path, config: Config) -> Path | None:
    """Where a run's checkpoints lie by its settings, if not in its folder: below checkpoint.folder, by its name."""
    folder = config.checkpoint.folder
    return None if folder is None else expanded(folder).absolute() / run.absolute().name


def link(checkpoints: Path, place: Path | None) -> Path | None:
    """The run's folder of checkpoints, if it is the link to `place`; None if it is none. Raises ConfigError for a link
    to the run's own place when the settings say another."""
    if not checkpoints.is_symlink():
        return None
    there = checkpoints.readlink()
    if place is not None and checkpoints.resolve() == place.resolve():
        return checkpoints
    if read_json(there / OWNER).get("run") == _name(checkpoints):
        raise ConfigError(
            f"{checkpoints} is a link to {there}, where this run's checkpoints lie; type the command with "
            + shlex.quote(f"checkpoint.folder={there.parent}")
        )
    return None


def lead(checkpoints: Path, place: Path) -> None:
    """Makes `checkpoints` a link to `place`, which is this run's alone. Raises ConfigError where either holds something
    already, OSError."""
    owner = read_json(place / OWNER).get("run")
    mine = _name(checkpoints)
    if checkpoints.is_symlink():
        if owner not in (None, mine) and Path(owner).is_symlink() and Path(owner).resolve() == place.resolve():
            raise ConfigError(f"{checkpoints} is a copy of {owner}, whose checkpoints lie in {place}; delete the copy")
    else:
        if checkpoints.is_dir() and any(checkpoints.iterdir()):
            here, there = shlex.quote(str(checkpoints)), shlex.quote(str(place))
            raise ConfigError(
                f"{checkpoints} holds this run's checkpoints already; leave checkpoint.folder={place.parent} out, or "
                f"move them first: mkdir -p {there} && mv {here}/* {there} && rmdir {here} && ln -s {there} {here}"
            )
        if place.is_dir() and any(path.name != OWNER or owner != mine for path in place.iterdir()):
            raise ConfigError(
                f"{place} is not empty, and no run's yet that leads to it; move it away, or choose another with "
                "checkpoint.folder=PATH"
            )
    try:
        make_private(place)
    except OSError as error:
        raise ConfigError(
            f"can't make {place}: {error.strerror}; choose another with checkpoint.folder=PATH"
        ) from error
    if owner != mine:
        write(place / OWNER, json.dumps({"run": mine}))
    if not checkpoints.is_symlink():
        if checkpoints.exists():
            checkpoints.rmdir()
        checkpoints.symlink_to(place)


def _name(checkpoints: Path) -> str:
    return str(checkpoints.absolute())
