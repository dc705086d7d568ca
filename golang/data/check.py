"""Is a set on disk what it should be? Recognises it, counts it against the published numbers, looks at every file."""

from __future__ import annotations

import functools
import io
import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from golang.config import Data
from golang.config.paths import expanded
from golang.data import decode
from golang.data.decode import UnreadableImageError
from golang.data.images import ImageSet
from golang.data.objects.measured import size_of
from golang.data.objects.sets import marked, open_maps, read_objects
from golang.data.objects.voc import Maps
from golang.data.packed.index import Pack
from golang.data.packed.shards import PackedSet
from golang.data.pool import processors, spread
from golang.data.progress import Advance
from golang.data.readers.reader import Reader, Split
from golang.data.readers.table import READERS
from golang.data.toy.write import MARK
from golang.errors import DataError, UnlabelledError

CHUNK = 256  # images a task
OF_A_PACK = "mend them in the set that was packed, and pack it anew in another folder"


@dataclass
class SplitReport:
    """What is known of one split of a set, or of a set that has but one (split "")."""

    split: str
    error: str = ""  # why it could not be read at all
    images: int = 0
    expected: int | None = None
    notes: list[str] = field(default_factory=list)  # that need nothing done
    said: list[str] = field(default_factory=list)  # by the set of itself
    wrong: list[str] = field(default_factory=list)  # numbers that are not the published ones
    missing: list[str] = field(default_factory=list)  # file names
    empty: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)  # file names with reasons
    faulty: list[str] = field(default_factory=list)  # boxes, masks and maps with reasons
    remedy: str = ""

    @property
    def good(self) -> bool:
        return not (self.error or self.wrong or self.missing or self.empty or self.unreadable or self.faulty)


def recognise(root: Path) -> list[str]:
    """The names of the sets of which there are traces at `root`, a folder or a file; a folder of images if of none. Of
    a pack, its set's."""
    if not root.exists():
        raise DataError(f"{root} is not a folder, nor a list; give the folder that holds the images, or their list")
    if (pack := Pack.at(root)) is not None:
        return [pack.set]
    found = [name for name, reader in READERS.items() if reader.is_at(root)]
    covered = {other for name in found for other in READERS[name].covers}
    return [name for name in found if name not in covered]


def examine(data: Data, quick: bool, progress: Advance, workers: int | None = None) -> Iterator[SplitReport]:
    """One report a split of the set. `quick` looks at headers alone, so that a file cut short may pass; `workers`
    processes look (default: one for each processor, none for few images)."""
    reader = READERS[data.name]
    root = expanded(data.root or data.name)
    before: ImageSet | None = None
    try:
        pack = Pack.at(root)
        if pack is not None:
            pack.check_name(data.name)
        splits = reader.splits_of(data) if pack is None else [split for split in reader.splits if split in pack.parts]
    except DataError as error:
        yield SplitReport("", str(error))
        return
    for split in splits:
        report = SplitReport(split if len(reader.splits) > 1 else "")
        report.remedy = reader.remedy(root, split) if pack is None else OF_A_PACK
        try:
            if pack is not None:
                images: ImageSet = pack.open(split)
            else:  # a generated set is not to be written here
                images = reader.read(root, split) if data.name == "toy" else reader.open(data, split)
        except DataError as error:
            report.error = str(error)
            yield report
            continue
        _count(report, images, reader, root if data.root else None)
        report.said += images.said
        try:
            if before is not None and before.labels is not None and images.labels is not None:
                reader.matched(before, images)
        except DataError as error:
            report.error = str(error)
        before = images
        sizes = _objects(report, data, split) if pack is None else None
        bare = replace(images, labels=None, classes=())  # labels need not travel
        number = min((len(images) - 1) // CHUNK, processors()) if workers is None else workers
        if pack is None and not quick:
            _maps(report, data, split, workers)
        converted: Counter[str] = Counter()
        for _, looks in spread(functools.partial(_look, bare, sizes, quick), len(images), CHUNK, number, progress):
            for index, kind, detail in looks:
                file = images.path(index).relative_to(images.root).as_posix()
                if kind == "converted":
                    converted[detail] += 1
                else:
                    getattr(report, kind).append(f"{file}: {detail}" if detail else file)
        for files in (report.missing, report.empty, report.unreadable):  # `faulty` is in the order of its file
            files.sort()
        report.notes += [f"{count:,} {what}" for what, count in sorted(converted.items())]
        yield report


def _count(report: SplitReport, images: ImageSet, reader: Reader, root: Path | None) -> None:
    """Counts a split against the published numbers, or what a generated set was asked for."""
    published = reader.images.get(report.split)
    report.images, report.expected = len(images), _asked_for(root, report.split, published)
    if report.expected not in (None, len(images)):
        report.wrong.append(f"{len(images):,} images, not {report.expected:,}")
    if images.labels is None:
        return
    report.notes.append(f"{len(images.classes)} classes")
    bare = int((~images.labels.any(axis=1)).sum())
    report.notes += [f"{bare:,} images without objects"] if bare else []
    if report.expected != published:
        return  # a generated set, whose number of images alone is known
    if reader.classes not in (None, len(images.classes)):
        report.wrong.append(f"{len(images.classes)} classes, not {reader.classes}")
    known = reader.without_objects.get(report.split)
    if known not in (None, bare):
        report.wrong.append(f"{bare:,} images without objects, not {known:,}")


def _asked_for(root: Path | None, split: str, published: int | None) -> int | None:
    """The number of images a generated set was asked for, in whatever layout; of others, the published one."""
    if root is None:
        return published
    try:
        return int(json.loads((root / MARK).read_text())[split])
    except FileNotFoundError:
        return published
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _objects(report: SplitReport, data: Data, split: Split) -> npt.NDArray[np.int32] | None:
    """Looks at the boxes and masks of a set that has any. Returns the sizes that they are relative to."""
    if not marked(data):
        return None
    try:
        objects, report.faulty = read_objects(data, split)
    except UnlabelledError:
        return None
    except DataError as error:
        report.faulty = [str(error).replace("\n", " ")]
        return None
    ignored = int(objects.ignored.sum())
    what = "boxes" if objects.shapes is None else "boxes with masks"
    report.notes.append(f"{len(objects.boxes):,} {what}" + (f" ({ignored:,} ignored)" if ignored else ""))
    report.said += [note for note in objects.images.notes if note not in report.said]
    return objects.sizes


def _maps(report: SplitReport, data: Data, split: Split, workers: int | None) -> None:
    """Looks at the maps of classes of a set that has any: each by itself, and whether their palettes agree, which where
    a tool has renumbered the values of some they do not."""
    try:
        maps = open_maps(data, split)
    except DataError as error:
        report.faulty.append(str(error).replace("\n", " "))
        return
    if maps is None:
        return
    report.notes.append(f"{len(maps):,} maps of classes")
    number = min((len(maps) - 1) // CHUNK, processors()) if workers is None else workers
    first: dict[int, tuple[Path, Color]] = {}
    looks = dict(spread(functools.partial(_look_at_maps, maps), len(maps), CHUNK, number, lambda done, total: None))
    for start in sorted(looks):
        for path, fault, colors in looks[start]:
            others = ((value, *first.setdefault(value, (path, color)), color) for value, color in colors.items())
            said = (
                f"{path}: value {value} is of colour {color}, and of {known} in {other}; one of them was renumbered, "
                "unpack both again"
                for value, other, known, color in others
                if known != color
            )
            report.faulty += [fault] if fault else [*said][:1]


def _look_at_maps(maps: Maps, start: int, stop: int) -> list[tuple[Path, str, dict[int, Color]]]:
    """Of each map its file, what is wrong with it, and the colours of its values."""
    found = []
    for index in range(start, stop):
        try:
            maps.of(index)
            found.append((maps.path(index), "", maps.colors(index)))
        except DataError as error:
            found.append((maps.path(index), str(error), {}))
    return found


Color = tuple[int, ...]  # red, green, blue
Fault = tuple[str, str]  # name of a list of SplitReport or "converted", detail
Look = tuple[int, str, str]  # index, name of a list of SplitReport or "converted", detail


def _look(images: ImageSet, sizes: npt.NDArray[np.int32] | None, quick: bool, start: int, stop: int) -> list[Look]:
    """What is to be said of the files from `start` to before `stop`; nothing of a plain good one."""
    found: list[Look] = []
    for index in range(start, stop):
        if isinstance(images, PackedSet):
            said = _inspect_packed(images, index, quick)
        else:
            size = None if sizes is None else (int(sizes[index, 0]), int(sizes[index, 1]))
            said = inspect(images.path(index), quick, images.upright, size)
        found += [(index, *said)] if said else []
    return found


def _inspect_packed(images: PackedSet, index: int, quick: bool) -> Fault | None:
    """As `inspect`, of an image in a shard."""
    try:
        data = images.content(index)
    except UnreadableImageError:
        return "missing", ""
    except DataError as error:
        return "unreadable", str(error).partition(";")[0]
    if not data:
        return "empty", ""
    return _judged(images.path(index), io.BytesIO(data), lambda: quick or decode.decode(data, images.upright))


def inspect(
    path: Path, quick: bool = False, upright: bool = False, size: tuple[int, int] | None = None
) -> Fault | None:
    """What is to be said of one file, as ("missing" | "empty" | "unreadable" | "faulty" | "converted", detail); None
    for a plain RGB image, of `size` if that is known."""
    if not path.is_file():
        return "missing", ""
    if path.stat().st_size == 0:
        return "empty", ""
    return _judged(path, path, lambda: quick or decode.read(path, upright), upright, size)


def _judged(
    path: Path, source: Path | io.BytesIO, read: Callable[[], object], upright: bool = False,
    size: tuple[int, int] | None = None,
) -> Fault | None:  # fmt: skip
    """The same of the image in `source`, which `read` reads as far as was asked for."""
    try:
        read()
        with decode.opened(source) as image:
            if size is not None and (own := size_of(image, upright)) != size:
                marks = "its boxes and masks are of {} × {}".format(*size)
                return "faulty", f"it has {own[0]} × {own[1]} pixels, and {marks}"
            return _oddity(path, image.mode, image.format or "")
    except UnreadableImageError as error:
        return "unreadable", str(error)
    except DataError as error:  # the storage, which has been asked often enough
        return "unreadable", str(error).partition(";")[0]


def _oddity(path: Path, mode: str, format: str) -> Fault | None:
    names = {"L": "grayscale", "CMYK": "CMYK", "P": "palette", "RGBA": "with transparency", "1": "black and white"}
    if Image.registered_extensions().get(path.suffix.lower(), format) != format and format != "MPO":
        return "converted", f"in another format than their suffix says ({format} in {path.suffix})"
    return None if mode == "RGB" else ("converted", names.get(mode, f"of mode {mode}"))
