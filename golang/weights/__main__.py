"""`python -m golang.weights IN OUT [--to LAYOUT]`: a checkpoint in another layout, every tensor accounted for."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path

from golang import tables
from golang.errors import CheckpointError, GolangError
from golang.runfolder.checkpoints import find
from golang.weights import layouts as weights
from golang.weights.layouts import LAYOUTS, Layout, Weights


def convert(source: Path, target: Path, layout: Layout, allow: bool) -> list[tuple[str, str, str]]:
    """Writes the weights of `source` (a file or a run's folder) to `target`. Returns one row a tensor: its name there,
    its name here ("" where there is none), and its fate: written, missing or left out.

    Raises CheckpointError for weights that are missing or surplus in `layout` (unless `allow`ed), and as `weights.read`
    and `weights.write` do; then nothing is written.
    """
    found = weights.read(find(source))
    missing, surplus = found.missing(layout), found.surplus(layout)
    rows = [
        (_name(name, found.layout), _name(name, layout), "written") for name in found.tensors if name not in surplus
    ]
    rows += [(_name(name, found.layout), "", "left out") for name in surplus]
    rows += [("", _name(name, layout), "missing") for name in missing]
    if (missing or surplus) and not allow:
        raise IncompleteError(found, layout, rows, missing, surplus)
    if target.resolve() == source.resolve():
        raise CheckpointError(f"{target} is the input itself; choose another name")
    weights.write(target, found, layout)
    return rows


class IncompleteError(CheckpointError):
    """The two layouts don't hold the same."""

    def __init__(
        self, found: Weights, layout: Layout, rows: list[tuple[str, str, str]], missing: list[str], surplus: list[str]
    ) -> None:
        self.rows = rows
        what = []
        if missing:
            what.append(f"{len(missing)} tensors of the layout {layout} are missing: {', '.join(missing)}")
        if surplus:
            what.append(f"{len(surplus)} tensors have no place in it: {', '.join(surplus)}")
        super().__init__(
            f"a {found.trunk} in the layout {found.layout} does not become {layout} as it is\n  " + "\n  ".join(what)
            + "\nnothing was written; --allow goes on without them"
        )  # fmt: skip


def _name(name: str, layout: Layout) -> str:
    if layout == "own":
        return name
    flat = name.removeprefix("trunk.")
    return weights.PREFIX + flat if layout in ("published", "swav") else flat


def summary(rows: list[tuple[str, str, str]]) -> list[tuple[str, str, str]]:
    """(part, number of tensors, fate) for each part of the network, stages of the trunk apart."""
    counts: Counter[tuple[str, str]] = Counter()
    for there, here, fate in rows:
        name = (there or here).removeprefix(weights.PREFIX).removeprefix("trunk.")
        counts[name.partition(".")[0], fate] += 1
    return [(part, str(count), fate) for (part, fate), count in counts.items()]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m golang.weights", description=__doc__)
    parser.add_argument("source", type=Path, metavar="IN", help="a checkpoint of any layout, or a run's folder")
    parser.add_argument("target", type=Path, metavar="OUT", help="the file to write; never overwritten")
    parser.add_argument("--to", choices=LAYOUTS, default="own", help="its layout (own, which model.init reads too)")
    parser.add_argument("--allow", action="store_true", help="go on with tensors missing or left out")
    parser.add_argument("--keys", action="store_true", help="a row for every tensor, not for every part")
    options = parser.parse_args(arguments)
    try:
        rows = convert(options.source, options.target, options.to, options.allow)
    except GolangError as error:
        if isinstance(error, IncompleteError):
            _show(error.rows, options.keys)
        print(error)
        return error.exit_status
    found = weights.read(find(options.source))
    _show(rows, options.keys)
    fates = Counter(fate for _, _, fate in rows)
    print(f"{found.layout} → {options.to}, {found.trunk}: " + ", ".join(f"{n} {fate}" for fate, n in fates.items()))
    if found.counters:
        print(f"{found.counters} counters {weights.COUNTER} were not in the file and are 0")
    if found.beside:
        print(f"beside the weights, and left out: {', '.join(found.beside)}")
    print(options.target)
    return 0


def _show(rows: list[tuple[str, str, str]], every: bool) -> None:
    columns = ("in", "out", "") if every else ("part", "tensors", "")
    tables.show(columns, rows if every else summary(rows), lambda row: row[-1] != "written", sys.stdout)


if __name__ == "__main__":
    sys.exit(main())
