"""`python -m golang.weights IN OUT [--to LAYOUT]`: a checkpoint in another layout, every tensor accounted for."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path

from golang import tables
from golang.errors import CheckpointError, GolangError
from golang.runfolder.checkpoints import find
from golang.weights import layouts
from golang.weights.layouts import LAYOUTS, Layout, name_in

Row = tuple[str, str, str]


class IncompleteError(CheckpointError):
    """The two layouts don't hold the same."""

    def __init__(self, message: str, rows: list[Row]) -> None:
        super().__init__(message)
        self.rows = rows


def convert(source: Path, target: Path, layout: Layout, allow: bool) -> list[Row]:
    """Writes the weights of `source` (a file or a run's folder) to `target`. Returns one row a tensor: its name there,
    its name here ("" where there is none), and its fate: written, missing or excluded.

    Raises IncompleteError for weights that are missing or surplus in `layout` (unless `allow`ed), and CheckpointError
    as `layouts.read` and `layouts.write` do; then nothing is written.
    """
    found = layouts.read(find(source))
    missing, surplus = found.missing(layout), found.surplus(layout)
    kept = [name for name in found.tensors if name not in surplus]
    rows = [(name_in(found.layout, name), name_in(layout, name), "written") for name in kept]
    rows += [(name_in(found.layout, name), "", "excluded") for name in surplus]
    rows += [("", name_in(layout, name), "missing") for name in missing]
    if (missing or surplus) and not allow:
        said = [f"a {found.trunk} in the layout {found.layout} does not become {layout} as it is"]
        if missing:
            said.append(f"  {len(missing)} tensors of the layout {layout} are missing: {', '.join(missing)}")
        if surplus:
            said.append(f"  {len(surplus)} tensors have no place in it: {', '.join(surplus)}")
        raise IncompleteError("\n".join([*said, "nothing was written; --allow goes on without them"]), rows)
    if target.resolve() == source.resolve():
        raise CheckpointError(f"{target} is the input itself; choose another name")
    layouts.write(target, found, layout)
    return rows


def summary(rows: list[Row]) -> list[Row]:
    """(part, number of tensors, fate) for each part of the network, stages of the trunk apart."""
    counts: Counter[tuple[str, str]] = Counter()
    for there, here, fate in rows:
        name = (there or here).removeprefix(layouts.PREFIX).removeprefix("trunk.")
        counts[name.partition(".")[0], fate] += 1
    return [(part, str(count), fate) for (part, fate), count in counts.items()]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m golang.weights", description=__doc__)
    parser.add_argument("source", type=Path, metavar="IN", help="a checkpoint of any layout, or a run's folder")
    parser.add_argument("target", type=Path, metavar="OUT", help="the file to write; never overwritten")
    parser.add_argument("--to", choices=LAYOUTS, default="own", help="its layout (own, which model.init reads too)")
    parser.add_argument("--allow", action="store_true", help="go on with tensors missing or excluded")
    parser.add_argument("--keys", action="store_true", help="a row for every tensor, not for every part")
    options = parser.parse_args(arguments)
    try:
        rows = convert(options.source, options.target, options.to, options.allow)
    except GolangError as error:
        if isinstance(error, IncompleteError):
            _show(error.rows, options.keys)
        print(error)
        return error.exit_status
    found = layouts.read(find(options.source))
    _show(rows, options.keys)
    fates = Counter(fate for _, _, fate in rows)
    print(f"{found.layout} → {options.to}, {found.trunk}: " + ", ".join(f"{n} {fate}" for fate, n in fates.items()))
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
