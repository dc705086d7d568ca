"""Settings as a run keeps them: files and images by what they hold, and what they leave to the recipe chosen."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from golang.config import Config, Data, Part
from golang.config.checks import ON_ANY_OBJECTS
from golang.config.doubts import expected
from golang.config.identity import run_id
from golang.config.paths import expanded
from golang.config.recipe import chosen
from golang.data.images import ImageSet
from golang.data.readers.fingerprint import fingerprint
from golang.data.readers.instances import Instances
from golang.data.readers.reader import Own
from golang.data.readers.table import READERS
from golang.data.sets import open_train, open_val
from golang.errors import DataError
from golang.runfolder.evaluations import data_of
from golang.runfolder.folder import RunFolder
from golang.runfolder.pinned import digest, pinned

log = logging.getLogger(__name__)
LONG = 5.0  # seconds after which looking at all files of a set is worth a line

Seen = dict[tuple[Data, bool], Data]


def identified(config: Config, seen: Seen | None = None) -> Config:
    """`config` with what its id needs: the digests of its checkpoints, and the fingerprints of a set of one's own; of
    validation images where it asks to measure on them. What is there already, as in a frozen run, stays.

    Raises what `pinned` and the readers do. `seen` keeps what was found for the next call, of another cell of a grid.
    """
    config = _with_objects(pinned(config))
    data, seen = config.data, {} if seen is None else seen
    if not isinstance(READERS[data.name], Own):
        return config
    measured = any(data_of(config, name) == data for name in config.evaluation.protocol)
    asked = replace(data, workers=0), measured
    if asked not in seen:
        began = time.monotonic()
        train = data.train.fingerprint or _identity(open_train(data))
        val = _identity(open_val(data)) if measured and not data.val.fingerprint else data.val.fingerprint
        parts = replace(data.train, fingerprint=train), replace(data.val, fingerprint=val)
        seen[asked] = replace(data, train=parts[0], val=parts[1])
        if (took := time.monotonic() - began) > LONG:
            log.info("names, sizes and labels of all images of data=%s were read in %.0f s", data.name, took)
    return replace(config, data=replace(seen[asked], workers=data.workers))


def _with_objects(config: Config) -> Config:
    """`config` with the digest of what marks the objects of a set of one's own, where it asks to learn them: labels are
    the same, and images, when a box is corrected."""
    evaluation = config.evaluation
    asked = [name for name in evaluation.protocol if name in ON_ANY_OBJECTS]
    if not asked or evaluation.objects_sha256:
        return config
    data = data_of(config, asked[0])
    reader = READERS[data.name]
    if not isinstance(reader, Instances):
        return config
    digests = " ".join(digest(file) for file in reader.files(data) if file.is_file())
    found = hashlib.sha256(digests.encode()).hexdigest()
    return replace(config, evaluation=replace(evaluation, objects_sha256=found))


def settled(config: Config, folder: Path, ranks: int, gpus: bool | None) -> Config:
    """`config` as the run in `folder` has it or, where there is none yet, as it begins on so many ranks, on GPUs or
    not; None leaves the choice to who knows. Raises as `identified` does, and ConfigError for a run whose settings
    can't be read."""
    config, run = identified(config), RunFolder(folder)
    if (config.recipe.left or config.data.train.fingerprint) and run.config_file.exists():
        config = _as_begun(config, run.config())
    left = config.recipe.left and not config.recipe.size and config.evaluation.checkpoint is None
    if left and gpus is not None:
        config = chosen(config, expected(config.data) or len(open_train(config.data, labelled=False)), ranks, gpus)
    return config


def folder_of(config: Config, folders: Mapping[str, Path]) -> Path | None:
    """Of run folders by their ids, that of `config`: also one of before sets had fingerprints, if its images lie at the
    same place."""
    if (own := folders.get(run_id(config))) or not config.data.train.fingerprint:
        return own
    bare = _without_fingerprint(config)
    old = folders.get(run_id(bare))
    return old if old and _place(RunFolder(old).config().data) == _place(config.data) else None


def open_unchanged(data: Data) -> ImageSet:
    """The training images without their labels. Raises DataError, as the readers do, and if they are no longer those
    that the run's id was made of."""
    if not data.train.fingerprint:
        return open_train(data, labelled=False)
    images = open_train(data)
    if _identity(images) != data.train.fingerprint:
        then, now = expected(data), len(images)
        number = f"{now:,} images, then {then:,}" if then != now else "another name, size or label"
        raise DataError(
            f"data={data.name}: {images.root} has changed since this run was set up ({number}); restore it, or "
            "type the command anew for another run"
        )
    return replace(images, labels=None, classes=())


def _identity(images: ImageSet) -> str:
    return f"{len(images)}-{fingerprint(images)}"


def _as_begun(config: Config, before: Config) -> Config:
    """With what was chosen when the run began. A run of before sets had fingerprints has none, and is known by where
    its images are."""
    old = isinstance(READERS[config.data.name], Own) and not before.data.train.fingerprint
    if old and _place(before.data) == _place(config.data):
        config = _without_fingerprint(config)
    if not before.recipe.size or run_id(before) != run_id(config):
        return config
    names = [key.removeprefix("optim.") for key in before.recipe.left]
    optim = replace(config.optim, **{name: getattr(before.optim, name) for name in names})
    return replace(config, optim=optim, recipe=before.recipe)


def _without_fingerprint(config: Config) -> Config:
    return replace(config, data=replace(config.data, train=replace(config.data.train, fingerprint="")))


def _place(data: Data) -> tuple[str, Path | None, Part]:
    root = expanded(data.root).absolute() if data.root else None
    return data.name, root, replace(data.train, fingerprint="")
