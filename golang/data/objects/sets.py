"""The objects, and the classes of pixels, of the set that the settings ask for."""

from __future__ import annotations

from pathlib import Path

from golang.config import Data
from golang.config.paths import expanded
from golang.data.images import ImageSet
from golang.data.objects import coco, voc
from golang.data.objects.draft import Read
from golang.data.objects.objects import Objects
from golang.data.objects.painted import Painted
from golang.data.objects.segments import Segments
from golang.data.objects.voc import Maps
from golang.data.packed.index import Pack
from golang.data.readers.coco import Coco
from golang.data.readers.instances import Instances
from golang.data.readers.reader import Split
from golang.data.readers.table import READERS
from golang.data.readers.toy import COCO, Toy
from golang.data.readers.voc import Augmented, Joined, Voc
from golang.data.toy import write
from golang.errors import DataError, UnlabelledError

HAVE = "coco2014, coco2017, voc2007, voc2012, voc0712, coco or toy"


def open_objects(data: Data, split: Split) -> Objects:
    """The objects of a split of `data`. Raises DataError as its reader does, and naming the first object that cannot be
    what it says, with its file and id; UnlabelledError for a set without boxes."""
    if isinstance(READERS[data.name], Toy):
        _write_toy(data)
    objects, faults = read_objects(data, split)
    if faults:
        more = f" (and {len(faults) - 1:,} more objects)" if len(faults) > 1 else ""
        raise DataError(
            f"{faults[0]}{more}\ncorrect it, or export it again; python -m golang.data check lists every such object"
        )
    return objects


def open_segments(data: Data, split: Split) -> Segments:
    """The class of each pixel of a split of `data`. Raises as `open_objects`, and DataError for boxes alone."""
    reader = READERS[data.name]
    if not isinstance(reader, (Voc, Augmented)):
        return Painted.of_objects(open_objects(data, split))
    _refuse_pack(data)
    return voc.segments(reader, reader.root(data), split)


def open_both(data: Data) -> tuple[Objects, Objects]:
    """The objects to train on and to measure on, with the same classes in the same order. Raises as `open_objects`, and
    DataError for a class that one of them alone has."""
    val = open_objects(data, "val")  # first: the smaller
    train = open_objects(data, "train")
    _match(data, train.images, val.images)
    return train, val.with_classes(train.images.classes)


def open_both_segments(data: Data) -> tuple[Segments, Segments]:
    """The same of the classes of pixels."""
    val, train = open_segments(data, "val"), open_segments(data, "train")
    _match(data, train.images, val.images)
    if train.classes != val.classes:
        raise DataError(f"data={data.name}: the classes to train on, {train.classes}, are not those of {val.classes}")
    return train, val


def _match(data: Data, train: ImageSet, val: ImageSet) -> None:
    """Raises DataError, with the files of one's own set, for a class that one split alone has."""
    reader = READERS[data.name]
    try:
        reader.matched(train, val)
    except DataError as error:
        if not isinstance(reader, Instances):
            raise
        files = " and ".join(map(str, reader.files(data)))
        raise DataError(f"{error}; correct {files}") from error


def look(data: Data, maps: bool) -> None:
    """A glance at the objects, or at the `maps` of classes, of the smaller split; at the generated set only if it is
    there. Raises as `open_objects` and `open_segments`."""
    reader = READERS[data.name]
    if isinstance(reader, Toy):
        _refuse_pack(data)
        if reader.is_at(reader.root(data)):
            _refuse_unmasked(reader.root(data), data)
    elif maps:
        open_segments(data, "val")
    else:
        open_objects(data, "val")


def marked(data: Data) -> bool:
    """Whether the loose files of `data` have boxes or masks, as far as a glance tells. Nothing is written."""
    reader = READERS[data.name]
    if isinstance(reader, Toy):
        return write.has_masks(reader.root(data))
    if isinstance(reader, Voc):
        return (reader.base(reader.root(data)) / "Annotations").is_dir()
    return isinstance(reader, (Coco, Instances, Joined))


def open_maps(data: Data, split: Split) -> Maps | None:
    """The maps of classes in files of a split of `data`, whatever its images are; None where there are none. Raises
    DataError as `open_segments`."""
    reader = READERS[data.name]
    if isinstance(reader, Voc) and not (reader.base(reader.root(data)) / "SegmentationClass").is_dir():
        return None
    return (
        voc.segments(reader, reader.root(data), split, lenient=True) if isinstance(reader, (Voc, Augmented)) else None
    )


def read_objects(data: Data, split: Split) -> Read:
    """The objects of a split without fault, and what is wrong with the others. Raises as `open_objects`; writes
    nothing."""
    reader = READERS[data.name]
    _refuse_pack(data)
    if isinstance(reader, Instances):
        return coco.own(data, split)
    if isinstance(reader, (Voc, Joined)):
        return voc.objects(reader, reader.root(data), split)
    if isinstance(reader, (Coco, Toy)):
        published = COCO if isinstance(reader, Toy) else reader
        return coco.published(published, reader.root(data), split)
    raise UnlabelledError(f"data={data.name} has no boxes or masks; choose a set that has them: data={HAVE}")


def _refuse_pack(data: Data) -> None:
    if data.root and Pack.at(expanded(data.root)) is not None:
        raise DataError(f"{data.root} is a pack, without boxes and masks; set data.root to the loose files it is of")


def _write_toy(data: Data) -> None:
    """Writes the generated set if it is not there. Raises DataError for one without masks."""
    _refuse_pack(data)
    _refuse_unmasked(write.write(READERS["toy"].root(data), data.toy), data)


def _refuse_unmasked(root: Path, data: Data) -> None:
    if not write.has_masks(root):
        raise DataError(
            f"{root} was written before the generated set had masks; `{write.command(root, data.toy)}` adds them, and "
            "leaves its images and labels as they are"
        )
