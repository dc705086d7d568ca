"""`python -m golang.data check ROOT`: what is below a folder or in a list, and whether it is whole; `pack SET OUT`: a
set in a few large files."""

from __future__ import annotations

import argparse
import logging
import re
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from golang import exits
from golang.config import Data, Part
from golang.config.checks import check_data
from golang.config.paths import expanded
from golang.config.reading import check_ranges
from golang.data import check
from golang.data.images import ImageSet
from golang.data.packed import write
from golang.data.packed.index import Pack
from golang.data.packed.verify import damage_of
from golang.data.packed.write import SHARD
from golang.data.progress import shown
from golang.data.readers.reader import Split
from golang.data.readers.table import READERS
from golang.data.toy.write import MARK
from golang.errors import DataError, GolangError

SHOWN = 20  # files of a kind, unless all are asked for


def main(arguments: list[str] | None = None) -> int:
    """The exit status: 0 if all is well, 1 if something is wrong with the set, 2 if there is none."""
    parser = argparse.ArgumentParser(prog="python -m golang.data", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("check", help="recognise a set, count it, look at every file")
    _add_set(command, "ROOT")
    command.add_argument("--quick", action="store_true", help="headers alone: files cut short are not found")
    command.add_argument("--all", action="store_true", help=f"list every file, not {SHOWN} of a kind")
    command.add_argument("--workers", type=int, help="processes (default: one for each processor)")
    command = commands.add_parser("pack", help="write a set into a few tar files, which are read by offset")
    _add_set(command, "SET")
    command.add_argument("out", type=Path, metavar="OUT", help="a new folder; what data.root is to be")
    command.add_argument("--split", choices=("train", "val"), action="append", help="this split alone (default: all)")
    command.add_argument("--shard-size", type=_bytes, default=SHARD, metavar="SIZE", help="of a tar file (1GB)")
    command.add_argument("--holdout", type=float, default=Data().holdout, metavar="SHARE", help="as data.holdout")
    command.add_argument("--val", action="append", default=[], metavar="SET", help="as data.val.images")
    command.add_argument("--val-annotations", metavar="FILE", help="as data.val.annotations")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    if options.command == "pack":
        return _pack(options)
    try:
        good = True
        for data in _asked_for(options):
            where = ", ".join([*data.train.images, data.root or data.train.annotations or ""]).strip(", ")
            print(f"{where}: {READERS[data.name].title} (data={data.name})")
            good = _is_whole(data, options.quick) and good
            with shown("looking at images") as progress:
                reports = list(check.examine(data, options.quick, progress, options.workers))
            for report in reports:
                _show(report, None if options.all else SHOWN)
                good = good and report.good
    except GolangError as error:
        print(error)
        return 2
    how = "by their headers alone (no --quick: every pixel)" if options.quick else "to the last pixel"
    print(f"{'all is well' if good else 'something is wrong'}; files were read {how}")
    return 0 if good else 1


def _add_set(command: argparse.ArgumentParser, what: str) -> None:
    """What says which set is meant."""
    command.add_argument("roots", nargs="*", metavar=what, help="what data.root would be; several folders or lists")
    command.add_argument("--set", choices=READERS, help="the set it should be (default: what it looks like)")
    command.add_argument("--annotations", metavar="FILE", help=f"of data=coco, whose images lie in {what} or beside it")
    command.add_argument("--separator", default=Data().separator, help="of the labels in one cell of a list")


def _asked_for(options: argparse.Namespace) -> list[Data]:
    """The sets to look at. Raises DataError where it is not clear which."""
    roots, annotations = tuple(options.roots), options.annotations
    if annotations is not None:
        if options.set not in (None, "coco"):
            raise DataError(f"--annotations={annotations} goes with --set coco")
        return [Data(name="coco", train=Part(images=roots, annotations=annotations))]
    if not roots:
        wants = "wants the folder that holds the images, or a list of them"
        raise DataError(f"python -m golang.data {options.command} {wants}")
    found: list[list[Any]] = [[options.set]] if options.set else [check.recognise(expanded(root)) for root in roots]
    if len(roots) == 1:
        return [Data(name, roots[0], separator=options.separator) for name in found[0]]
    names = {name for each in found for name in each}
    if not names <= {"folder", "list"}:
        raise DataError(
            f"several roots are folders or lists, and there is {', '.join(sorted(names))}; give one, or --set"
        )
    return [Data("list" if "list" in names else "folder", train=Part(roots), separator=options.separator)]


def _show(report: check.SplitReport, most: int | None) -> None:
    title = f"  {report.split:6}" if report.split else "  "
    if report.error:
        print(f"{title}cannot be read: " + report.error.replace("\n", "\n    "))
        return
    of = "" if report.expected is None else f" of {report.expected:,}"
    print(f"{title}{report.images:,}{of} images" + "".join(f", {note}" for note in report.notes))
    for line in report.said:
        print(f"    {line}")
    for line in report.wrong:
        print(f"    wrong: {line}: this is not the whole set as published")
    for kind in ("missing", "empty", "unreadable", "faulty"):
        files = getattr(report, kind)
        for file in files[:most]:
            print(f"    {kind}: {file}")
        if most is not None and len(files) > most:
            print(f"    {kind}: … and {len(files) - most:,} more (--all lists them)")
    if report.faulty:
        print(
            f"    {len(report.faulty):,} boxes, masks and maps are not what they should be: correct them, or annotate "
            "again, before detection or segmentation; training does not look at them"
        )
    if bad := len(report.missing) + len(report.empty) + len(report.unreadable):
        print(f"    {bad:,} of {report.images:,} files cannot be used; {report.remedy}")
        few = 100 * bad <= report.images
        verdict = "goes on: up to 1 % are replaced by the image after them" if few else "stops: more than 1 %"
        print(f"    training {verdict}")


def _is_whole(data: Data, quick: bool) -> bool:
    """Whether the files of the pack at data.root, if it is one, are what they were; says which are not."""
    pack = Pack.at(expanded(data.root)) if data.root else None
    if pack is None:
        return True
    with shown("reading shards") as progress:
        found = damage_of(pack, quick, progress)
    for line in found:
        print(f"    damaged: {line}; restore it, or pack the set anew in another folder")
    return not found


def _bytes(text: str) -> int:
    units = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]?)b?", text.strip(), re.IGNORECASE)
    if match is None or (size := int(float(match[1]) * units[match[2].lower()])) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no size; 1GB and 500MB are")
    return size


def _pack(options: argparse.Namespace) -> int:
    """The exit status: 0 once the set is packed, 2 if it cannot be, 130 if that was interrupted."""
    out = expanded(options.out)
    try:
        data, *others = _asked_for(options)
        if others:
            names = " and ".join(one.name for one in (data, *others))
            raise DataError(f"{data.root} holds {names}; say which to pack, as in --set {data.name}")
        val = Part(images=tuple(options.val), annotations=options.val_annotations)
        data = replace(data, val=val, holdout=options.holdout)
        check_ranges(data, "data.")
        check_data(data)
        beside = [expanded(data.root) / MARK] if data.root else []
        sets = _splits(data, options.split)
        pack = write.pack(sets, data, out, options.shard_size, [path for path in beside if path.is_file()])
    except GolangError as error:
        print(error)
        return 2
    except KeyboardInterrupt:
        print(f"interrupted; the same command goes on with the next file of {out}")
        return exits.INTERRUPTED
    images = sum(part.images for part in pack.parts.values())
    shards = sum(len(part.shards) for part in pack.parts.values())
    words = [f"data={data.name}", f"data.root={out}", *([f"data.holdout={data.holdout:g}"] if data.holdout else [])]
    print(f"{out}: {images:,} images in {shards} shards, all read back; train with {shlex.join(words)}")
    return 0


def _splits(data: Data, asked: list[Split] | None) -> dict[str, ImageSet]:
    """The splits that are asked for, or all there are. Raises DataError for one that cannot be read, and for a pack."""
    if data.root and Pack.at(expanded(data.root)) is not None:
        raise DataError(f"{data.root} is a pack already; copy its folder to have another")
    reader, found = READERS[data.name], dict[str, ImageSet]()
    splits = asked or reader.splits_of(data)
    for split in splits:
        try:  # a generated set is not to be written here
            images = reader.read(reader.root(data), split) if data.name == "toy" else reader.open(data, split)
        except DataError as error:
            if asked or len(splits) == 1:
                raise
            other = next(one for one in splits if one != split)
            raise DataError(f"{error}\n--split {other} packs the {other} images alone") from error
        found[split] = images
    return found


if __name__ == "__main__":
    sys.exit(main())
