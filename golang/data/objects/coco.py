"""Objects of files in COCO's format (Lin et al., arXiv 1405.0312): the published sets', and those of one's own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from golang.config import Data
from golang.data.images import ImageSet
from golang.data.objects.collected import Collected
from golang.data.objects.draft import Draft, Read, whole_numbers
from golang.data.objects.measured import measured
from golang.data.readers.coco import Coco, Collector, Listing
from golang.data.readers.instances import Instances
from golang.data.readers.reader import Split
from golang.errors import UnlabelledError


def published(reader: Coco, root: Path, split: Split) -> Read:
    """The objects of COCO 2014 or 2017, crowds ignored; classes in the order of the file. Raises DataError as the
    reader does."""
    return _read(lambda collector: reader.listing(root, split, collector), published=True)


def own(data: Data, split: Split) -> Read:
    """The objects of data=coco, crowds ignored; classes in the order of their names, so that the files of two splits
    may list them in any. Raises DataError as the reader does, UnlabelledError for a file without annotations."""
    found = _read(lambda collector: Instances().listing(data, split, collector=collector), published=False)
    return found._replace(objects=found.objects.with_classes(tuple(sorted(found.objects.images.classes))))


def _read(listing: Callable[[Collector], Listing], published: bool) -> Read:
    collected = Collected()
    file, rows, columns, kept, images = listing(collected)
    if not file.annotations:
        raise UnlabelledError(f"{file.path} has no annotations, so no boxes; name a file that has them")
    if not collected.boxed:
        raise UnlabelledError(f"{file.path} has no boxes (bbox); name a file that has them")
    if (len(collected.ids), len(collected.sizes)) != (len(file.annotations), len(file.images)):
        raise file.malformed("an annotation or an image lies within another entry")
    owners = np.fromiter((rows[image] for image, _ in file.annotations), np.int64, len(file.annotations))
    sizes = _sizes(collected, kept, images)
    place = np.full(len(rows), -1, dtype=np.int64)
    place[kept] = np.arange(len(kept))
    owners = place[owners]
    classes = np.fromiter((columns[kind] for _, kind in file.annotations), np.int64, len(file.annotations))
    file.annotations = None  # a million tuples
    boxes = collected.boxes
    boxes[:, 2:] += boxes[:, :2]
    widths, heights = sizes[np.maximum(owners, 0)].T.astype(np.int64)
    flaws = collected.repeats() | collected.flaws | collected.odd_corners() | collected.misfits(heights, widths)
    draft = Draft(
        images, sizes, whole_numbers(list(rows))[kept], owners, boxes, classes, collected.ignored, collected.areas,
        file.path, lambda row: f"{file.path}: annotation {collected.ids[row]!r} ({images.name(int(owners[row]))})",
        published, collected.shapes(), flaws,
    )  # fmt: skip
    return draft.judged()


def _sizes(collected: Collected, kept: npt.NDArray[np.int64], images: ImageSet) -> npt.NDArray[np.int32]:
    """int32 [N, 2]: as the file says, or, where it does not, the images themselves."""
    sizes = collected.sizes[kept].astype(np.int32)
    unknown = np.flatnonzero((sizes == 0).any(axis=1))
    if len(unknown):
        sizes[unknown] = measured(images, unknown)
    return sizes
