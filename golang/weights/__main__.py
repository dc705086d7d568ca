"""`python -m golang.weights IN OUT [--to LAYOUT]`: a checkpoint in another layout, every tensor accounted for."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path

from golang import tables
from golang.errors import CheckpointError, GolangError
from golang.weights import card, export, formats, layouts
from golang.weights.layouts import LAYOUTS, TRUNK_ALONE, Layout, Weights, name_in, some

Row = tuple[str, str, str]


class IncompleteError(CheckpointError):
    """The two layouts don't hold the same."""

    def __init__(self, message: str, rows: list[Row]) -> None:
        super().__init__(message)
        self.rows = rows


def convert(source: Path, target: Path, layout: Layout, allow: bool, take: str | None = None) -> list[Row]:
    """Writes the weights of `source` (a file, or the folder of a run or of an export) to `target`. Returns one row a
    tensor: its name there, its name here ("" where there is none), and its fate: written, missing or excluded. Of
    several networks in a file, `take` says which.

    Raises IncompleteError for weights that are missing or surplus in `layout` (unless `allow`ed; a layout of the trunk
    alone excludes heads by itself, and allows nothing to be missing), and CheckpointError as `layouts.read` and the
    writers do; then nothing is written.
    """
    file = formats.find(source)
    return _put(layouts.read(file, take), file, target, layout, allow)


def _put(found: Weights, file: Path, target: Path, layout: Layout, allow: bool) -> list[Row]:
    missing, surplus = found.missing(layout), found.surplus(layout)
    kept = [name for name in found.tensors if name not in surplus]
    rows = [(found.names.get(name, ""), name_in(layout, name), "written") for name in kept]
    rows += [(found.names.get(name, ""), "", "excluded") for name in surplus]
    rows += [("", name_in(layout, name), "missing") for name in missing]
    whole = layout in TRUNK_ALONE
    if (missing and (whole or not allow)) or (surplus and not (whole or allow)):
        said = [f"a {found.trunk} in the layout {found.origin} does not become {layout} as it is"]
        if missing:
            said.append(f"  {len(missing)} tensors of the layout {layout} are missing: {some(missing, 12)}")
        if surplus:
            said.append(f"  {len(surplus)} tensors have no place in it: {some(surplus, 12)}")
        end = "it is never written in part" if whole else "--allow goes on without them"
        raise IncompleteError("\n".join([*said, f"nothing was written; {end}"]), rows)
    if target.resolve() == file.resolve():
        raise CheckpointError(f"{target} is the input itself; choose another name")
    if layout in export.FOLDERS:
        export.write(target, found, layout, card.facts(file, found))
    else:
        layouts.write(target, found, layout)
    return rows


def summary(rows: list[Row]) -> list[Row]:
    """(part, number of tensors, fate) for each part of the network, stages of the trunk apart."""
    counts: Counter[tuple[str, str]] = Counter()
    for there, here, fate in rows:
        name = (here or there).removeprefix(layouts.PREFIX).removeprefix("trunk.")
        counts[name.partition(".")[0], fate] += 1
    return [(part, str(count), fate) for (part, fate), count in counts.items()]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m golang.weights", description=__doc__)
    parser.add_argument("source", type=Path, metavar="IN", help="a checkpoint of any layout, or a run's folder")
    parser.add_argument("target", type=Path, metavar="OUT", help="the file or folder to write; never overwritten")
    parser.add_argument("--to", choices=LAYOUTS, default="own", help="its layout (own, which model.init reads too)")
    parser.add_argument("--take", metavar="WORDS", help="of several networks in IN the one at WORDS: `student`")
    parser.add_argument("--allow", action="store_true", help="go on with tensors missing or excluded")
    parser.add_argument("--keys", action="store_true", help="a row for every tensor, not for every part")
    options = parser.parse_args(arguments)
    try:
        file = formats.find(options.source)
        found = layouts.read(file, options.take)
        rows = _put(found, file, options.target, options.to, options.allow)
    except GolangError as error:
        if isinstance(error, IncompleteError):
            _show(error.rows, options.keys)
        print(error)
        return error.exit_status
    _show(rows, options.keys)
    fates = Counter(fate for _, _, fate in rows)
    print(f"{found.origin} → {options.to}, {found.trunk}: " + ", ".join(f"{n} {fate}" for fate, n in fates.items()))
    if found.said:
        print(found.said)
    if found.counters:
        print(f"{found.counters} counters {layouts.COUNTER} were not in the file and are 0")
    if found.beside:
        print(f"beside the weights, and excluded: {', '.join(found.beside)}")
    print(options.target)
    return 0


def _show(rows: list[Row], every: bool) -> None:
    columns = ("in", "out", "") if every else ("part", "tensors", "")
    tables.show(columns, rows if every else summary(rows), lambda row: row[-1] != "written", sys.stdout)


if __name__ == "__main__":
    sys.exit(main())
