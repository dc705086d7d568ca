"""The objects, and the classes of pixels, of the set that the settings ask for."""

from __future__ import annotations

from golang.config import Data
from golang.config.paths import expanded
from golang.data.objects import coco
from golang.data.objects.draft import Read
from golang.data.objects.objects import Objects
from golang.data.objects.painted import Painted
from golang.data.objects.segments import Segments
from golang.data.packed.index import Pack
from golang.data.readers.coco import Coco
from golang.data.readers.reader import Split
from golang.data.readers.table import READERS
from golang.errors import DataError, UnlabelledError

HAVE = "coco2014, coco2017, coco or toy"


def open_objects(data: Data, split: Split) -> Objects:
    """The objects of a split of `data`. Raises DataError as its reader does, and naming the first object that cannot be
    what it says, with its file and id; UnlabelledError for a set without boxes."""
    objects, faults = read_objects(data, split)
    if faults:
        more = f" (and {len(faults) - 1:,} more objects)" if len(faults) > 1 else ""
        raise DataError(
            f"{faults[0]}{more}\ncorrect it, or export it again; python -m golang.data check lists every such object"
        )
    return objects


def open_segments(data: Data, split: Split) -> Segments:
    """The class of each pixel of a split of `data`. Raises as `open_objects`, and DataError for boxes alone."""
    return Painted.of_objects(open_objects(data, split))


def read_objects(data: Data, split: Split) -> Read:
    """The objects of a split without fault, and what is wrong with the others. Raises as `open_objects`."""
    reader = READERS[data.name]
    root = expanded(data.root) if data.root else None
    if root is not None and Pack.at(root) is not None:
        raise DataError(f"{root} is a pack, which has no boxes or masks; set data.root to the loose files it is of")
    if isinstance(reader, Coco):
        return coco.published(reader, reader.root(data), split)
    if data.name == "coco":
        return coco.own(data, split)
    raise UnlabelledError(f"data={data.name} has no boxes or masks; choose a set that has them: data={HAVE}")
