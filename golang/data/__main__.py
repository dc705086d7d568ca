"""`python -m golang.data check ROOT`: what is below a folder, and whether it is whole."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from golang.data import check
from golang.data.progress import shown
from golang.data.readers.table import READERS
from golang.errors import GolangError

SHOWN = 20  # files of a kind, unless all are asked for


def main(arguments: list[str] | None = None) -> int:
    """The exit status: 0 if all is well, 1 if something is wrong with the set, 2 if there is none."""
    parser = argparse.ArgumentParser(prog="python -m golang.data", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("check", help="recognise a set, count it, look at every file")
    command.add_argument("root", type=Path, metavar="ROOT", help="what data.root would be")
    command.add_argument("--set", choices=READERS, help="the set it should be (default: what it looks like)")
    command.add_argument("--quick", action="store_true", help="headers alone: files cut short are not found")
    command.add_argument("--all", action="store_true", help=f"list every file, not {SHOWN} of a kind")
    command.add_argument("--workers", type=int, help="processes (default: one for each processor)")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        names = [options.set] if options.set else check.recognise(options.root)
        good = True
        for name in names:
            print(f"{options.root}: {READERS[name].title} (data={name})")
            with shown("looking at images") as progress:
                reports = list(check.examine(options.root, name, options.quick, progress, options.workers))
            for report in reports:
                _show(report, None if options.all else SHOWN)
                good = good and report.good
    except GolangError as error:
        print(error)
        return 2
    how = "by their headers alone (no --quick: every pixel)" if options.quick else "to the last pixel"
    print(f"{'all is well' if good else 'something is wrong'}; files were read {how}")
    return 0 if good else 1


def _show(report: check.SplitReport, most: int | None) -> None:
    title = f"  {report.split:6}" if report.split else "  "
    if report.error:
        print(f"{title}cannot be read: " + report.error.replace("\n", "\n    "))
        return
    of = "" if report.expected is None else f" of {report.expected:,}"
    print(f"{title}{report.images:,}{of} images" + "".join(f", {note}" for note in report.notes))
    for line in report.wrong:
        print(f"    wrong: {line}: this is not the whole set as published")
    for kind in ("missing", "empty", "unreadable"):
        files = getattr(report, kind)
        for file in files[:most]:
            print(f"    {kind}: {file}")
        if most is not None and len(files) > most:
            print(f"    {kind}: … and {len(files) - most:,} more (--all lists them)")
    if bad := len(report.missing) + len(report.empty) + len(report.unreadable):
        print(f"    {bad:,} of {report.images:,} files cannot be used; {report.remedy}")
        few = 100 * bad <= report.images
        verdict = "goes on: up to 1 % are replaced by the image after them" if few else "stops: more than 1 %"
        print(f"    training {verdict}")


if __name__ == "__main__":
    sys.exit(main())
