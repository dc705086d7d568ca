"""`python -m tests.learning.transfer`: what the demo's trunks are worth in detection and segmentation, on a set that
nothing was tuned on.

Ten minutes on two cores, a process on each: for each training seed GOLANG's trunk and an untrained one, for the first
also SwAV's and one trained with labels. Detection is on a frozen trunk; for segmentation, which an untrained trunk is
not measured in, the trunk is tuned. Typed again it continues where it was. Exits with 1 if a figure is not reached.
"""

from __future__ import annotations

import logging
import os
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from golang.data.sets import open_train
from tests.learning.check import Report, bars, command
from tests.learning.recipe import demo
from tests.learning.trunks import DETECTED, LABELS, RANDOM, SEGMENTED, Figures, Start

VAL = 500  # images that are scored
AT_ONCE = 2
BOXES = 7.0  # AP50 of boxes that GOLANG reaches with each seed
GAIN = 2.0  # and how many times that of its untrained trunk
PIXELS = 20.0  # mIoU that it reaches with each seed

Table = Mapping[str, Mapping[int, Figures]]  # by row and seed
log = logging.getLogger("golang.learning")


def measure(out: Path, seeds: Sequence[int], set_seed: int, overrides: Sequence[str]) -> Table:
    """Every row of the table, weakest first. Raises as `Start.measured`."""
    common = (f"data.toy.seed={set_seed}", f"data.toy.val={VAL}", "device=cpu", *overrides)
    log.info("looking at the set of seed %d", set_seed)
    for settings in (common, *((*common, f"data.toy.train={images}") for images in (DETECTED, SEGMENTED))):
        open_train(demo(settings).data)  # which writes it

    def start(name: str, seed: int) -> Start:
        folder = out / f"{name.replace(' ', '-').lower()}-set{set_seed}-seed{seed}"
        return Start(name, seed, common, folder, segments=name != RANDOM)

    # The longest first, so that neither core is left alone with one.
    starts = [start("GOLANG", seed) for seed in seeds]
    starts += [start(name, seeds[0]) for name in ("SwAV", LABELS)]
    starts += [start(RANDOM, seed) for seed in seeds]
    total, done, began = sum(one.steps for one in starts), 0, time.monotonic()

    def say(what: str) -> None:
        nonlocal done
        done += 1
        log.info("[%d/%d] %s (%.1f min so far)", done, total, what, (time.monotonic() - began) / 60)

    with ThreadPoolExecutor(min(AT_ONCE, os.cpu_count() or 1)) as pool:
        futures = [pool.submit(one.measured, say) for one in starts]
        try:
            found = [future.result() for future in futures]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    table: dict[str, dict[int, Figures]] = {RANDOM: {}, "SwAV": {}, "GOLANG": {}, LABELS: {}}
    for one, figures in zip(starts, found, strict=True):
        table[one.name][one.seed] = figures
    return table


def failures(table: Table) -> list[str]:
    """What the table shows that should not be; nothing when all is well."""
    found = []
    for seed, ours in table["GOLANG"].items():
        least = max(BOXES, GAIN * table[RANDOM][seed].boxes)
        if ours.boxes < least:
            found.append(f"seed {seed}: AP50 of GOLANG's boxes is {ours.boxes:.1f}, not {least:.1f} or more")
        if ours.pixels is None or ours.pixels < PIXELS:
            found.append(f"seed {seed}: mIoU of GOLANG is {ours.pixels or 0:.1f}, not {PIXELS:g} or more")
    return found


def columns(table: Table) -> dict[str, dict[str, list[float]]]:
    """By figure and row its values, seeds in order."""
    return {
        title: {
            name: [value for one in row.values() if (value := one[place]) is not None] for name, row in table.items()
        }
        for place, title in enumerate(("boxes, AP50", "masks, AP50", "pixels, mIoU"))
    }


def markdown(table: Table, seeds: Sequence[int], set_seed: int) -> str:
    """The table, a row a line, weakest first."""
    found = columns(table)
    lines = [
        f"On the generated set of seed {set_seed}, {VAL} validation images; training seeds "
        f"{', '.join(map(str, seeds))}: the mean, and each seed's.",
        "Boxes and masks on a frozen trunk, pixels on a tuned one.",
        "",
        "| trunk | " + " | ".join(found) + " |",
        "|---" * (1 + len(found)) + "|",
    ]
    lines += [f"| {name} | " + " | ".join(_cell(found[title][name]) for title in found) + " |" for name in table]
    return "\n".join(lines) + "\n"


def _cell(values: Sequence[float]) -> str:
    if not values:
        return "–"
    each = ", ".join(f"{value:.1f}" for value in values)
    return each if len(values) == 1 else f"**{statistics.mean(values):.1f}** ({each})"


def picture(table: Table, path: Path, set_seed: int) -> None:
    """A panel a figure: a dot for each seed, and a bar for the mean of each row."""
    from matplotlib.figure import Figure

    found = columns(table)
    size = 3.2 * len(found) + 1, 0.5 * len(table) + 1.2
    figure = Figure(figsize=size, layout="constrained", facecolor="white")
    panels = figure.subplots(1, len(found), sharey=True)
    for axes, (title, rows) in zip(panels, found.items(), strict=True):
        bars(axes, rows)
        axes.margins(x=0.15)
        axes.set_title(title, loc="left", fontsize=11)
    figure.supxlabel(f"points on validation images of set {set_seed} (bar: mean, dots: seeds)", fontsize=10)
    figure.savefig(path, dpi=150)


def main(arguments: Sequence[str] | None = None) -> int:
    os.environ["OMP_NUM_THREADS"] = "1"  # of each process; there is one for each core
    report = Report(markdown, picture, failures)
    return command("tests.learning.transfer", __doc__ or "", "runs/transfer-check", measure, report, arguments)


if __name__ == "__main__":
    sys.exit(main())
