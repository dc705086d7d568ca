"""The data set that the settings ask for."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence

from golang.config import Data
from golang.config.paths import expanded
from golang.data.images import ImageSet
from golang.data.packed import stage
from golang.data.packed.index import Pack
from golang.data.readers.reader import Split
from golang.data.readers.table import READERS
from golang.errors import DataError, UnlabelledError


def check_root(data: Data, splits: Sequence[Split] = ("train",)) -> None:
    """A glance at the disk. Raises DataError, with the layout expected, when the folders of `splits` are not there."""
    pack = _pack(data)
    for split in splits:
        if pack is None:
            READERS[data.name].look(data, split)
        else:
            pack.check(split)


def open_train(data: Data, labelled: bool = True) -> ImageSet:
    """The training images of `data`; unlabelled for `folder` and where nobody says labels, and where labels are not
    asked for and cost memory. Raises DataError as the readers do."""
    return _open(data, "train", labelled)


def open_val(data: Data) -> ImageSet:
    """The labelled validation images of `data`. Raises DataError as the readers do, UnlabelledError without labels."""
    reader = READERS[data.name]
    if "val" not in reader.splits:
        *others, last = (name for name, one in READERS.items() if "val" in one.splits)
        raise UnlabelledError(
            f"data={data.name} (data.root={data.root}) has no labels to evaluate on; "
            f"evaluate with data={', '.join(others)} or {last}"
        )
    images = _open(data, "val")
    _refuse_unlabelled(data, images, "validation")
    return images


def open_labelled(data: Data) -> tuple[ImageSet, ImageSet]:
    """The labelled training and validation images, with the same columns. Raises DataError as `open_val`, and where
    their labels disagree."""
    val = open_val(data)  # first: it refuses a set without labels
    train = open_train(data)
    _refuse_unlabelled(data, train, "training")
    return train, READERS[data.name].matched(train, val)


def copy_to_node(data: Data, splits: Sequence[Split], tick: Callable[[int], None]) -> str:
    """Copies the pack at data.root to data.stage on this node, where both are set. As `stage.copy`."""
    pack = _pack(data)
    return stage.copy(pack, splits, data.stage, tick) if pack is not None and data.stage else ""


def check_words(data: Data) -> str:
    """What `python -m golang.data check` is given to look at the set, quoted for a shell."""
    return READERS[data.name].words(data)


def _open(data: Data, split: Split, labelled: bool = True) -> ImageSet:
    """From the pack at data.root, or its copy on this node, or from loose files."""
    if (pack := _pack(data)) is None:
        return READERS[data.name].open(data, split, labelled)
    return pack.open(split, labelled, stage.found(pack, split, data.stage))


def _pack(data: Data) -> Pack | None:
    """The pack at data.root; None where the set is loose files. Raises DataError for a pack of another set, and for
    loose files that are to be staged."""
    pack = Pack.at(expanded(data.root)) if data.root else None
    if pack is None:
        if data.stage:
            READERS[data.name].look(data, "train")
            raise DataError(
                f"data.stage={data.stage} copies packs, and this set is loose files; pack them, and set data.root=OUT: "
                f"python -m golang.data pack {_pack_words(data)}"
            )
        return None
    pack.check_set(data)
    READERS[data.name].check_packed(data, pack.root)
    return pack


def _pack_words(data: Data) -> str:
    """What `python -m golang.data pack` is given to pack the set into OUT, quoted for a shell."""
    words = shlex.split(check_words(data))
    options = next((position for position, word in enumerate(words) if word.startswith("--")), len(words))
    words.insert(options, "OUT")
    return shlex.join([*words, *([] if "--set" in words else ["--set", data.name])])


def _refuse_unlabelled(data: Data, images: ImageSet, which: str) -> None:
    if images.labels is None:
        raise UnlabelledError(f"data={data.name}: the {which} images in {images.root} have no labels to evaluate with")
