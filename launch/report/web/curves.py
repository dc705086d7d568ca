"""Curves of metrics.jsonl for a page: thinned so that extremes stay, and packed small.

Of a curve the log lines are cut into equal parts, and of each part the lowest and the highest value stay where they
are; so do the first and the last. A packed run is JSON, deflated, in base64: `step` and `time` as the first value and
then differences, `attempts` as [line, attempt] where one begins, and `metrics` as [lines as differences, values].
"""

from __future__ import annotations

import base64
import contextlib
import json
import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt

from golang.runfolder.files import as_number

FEWEST, MOST = 60, 600  # points of a curve
DIGITS = 5  # that a value keeps
_TOGETHER = 2_500_000  # points of all curves of a page, roughly
_METRICS = 24  # of a run, roughly
_NOT_DRAWN = frozenset({"step", "time", "attempt"})

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Curves:
    """The curves of one run."""

    metrics: tuple[str, ...]
    lines: int  # of metrics.jsonl
    packed: str


def points_of(runs: int) -> int:
    """How many points a curve may have on a page of that many runs: an even number."""
    return max(FEWEST, min(MOST, _TOGETHER // (_METRICS * max(1, runs)))) // 2 * 2


def rule(points: int) -> str:
    """What thinning does, for a reader of the page."""
    return (
        f"A curve of more than {points} log lines is thinned: its lines are cut into {points // 2} equal parts, and of "
        f"each part the lowest and the highest value stay, as do the first and the last, so no extreme is lost. Values "
        f"have {DIGITS} digits. Smoothing averages the points that stayed."
    )


def thin(values: Floats, points: int) -> list[npt.NDArray[np.int64]]:
    """Which of the lines stay of each curve in `values` [K, N]: increasing indices of finite values, at most `points`
    and the two ends."""
    known = np.isfinite(values)
    count = values.shape[1]
    if count <= points:
        return [np.flatnonzero(row) for row in known]
    parts = points // 2
    width = math.ceil(count / parts)
    padding = ((0, 0), (0, parts * width - count))
    begins = np.arange(parts) * width
    spots = []
    for blank, lowest in ((np.inf, True), (-np.inf, False)):
        cut = np.pad(np.where(known, values, blank), padding, constant_values=blank).reshape(len(values), parts, width)
        spots.append((cut.argmin(2) if lowest else cut.argmax(2)) + begins)
    picked = np.concatenate([*spots, np.broadcast_to([0, count - 1], (len(values), 2))], axis=1)
    found = []
    for row, mask in zip(picked, known, strict=True):
        inside = np.unique(row[row < count])
        found.append(inside[mask[inside]])
    return found


def pack(lines: Sequence[dict[str, Any]], points: int) -> Curves:
    """The curves of a run's log lines."""
    columns = _columns(lines)
    names = sorted(columns.keys() - _NOT_DRAWN)
    figures = np.array([_column(columns[name]) for name in names]).reshape(len(names), len(lines))
    shown = np.isfinite(figures).any(axis=1) if lines else np.zeros(len(names), bool)
    names = [name for name, there in zip(names, shown, strict=True) if there]
    figures = figures[shown]
    picked = thin(figures, points) if names else []
    attempts = columns.get("attempt", [None] * len(lines))
    begun = [index for index in range(len(lines)) if index == 0 or attempts[index] != attempts[index - 1]]
    content = {
        "step": _differences(columns.get("step", [])),
        "time": _differences(_seconds(columns.get("time", [None] * len(lines)))),
        "attempts": [[index, attempts[index] if isinstance(attempts[index], int) else None] for index in begun],
        "metrics": {
            name: [_differences(indices.tolist()), _rounded(row[indices]).tolist()]
            for name, row, indices in zip(names, figures, picked, strict=True)
        },
    }
    text = json.dumps(content, separators=(",", ":"), allow_nan=False)
    return Curves(tuple(names), len(lines), base64.b64encode(zlib.compress(text.encode(), 6)).decode())


def _columns(lines: Sequence[dict[str, Any]]) -> dict[str, Sequence[Any]]:
    """The values of each key, None where a line lacks it."""
    if len(set(map(tuple, lines))) == 1:  # as is usual: at a fifth of the time
        return dict(zip(lines[0], zip(*(line.values() for line in lines), strict=True), strict=True))
    return {key: [line.get(key) for line in lines] for key in set().union(*lines)}


def _column(values: Sequence[object]) -> Floats:
    """As numbers; NaN for what is none."""
    with contextlib.suppress(OverflowError):
        if set(map(type, values)) <= {int, float}:  # at a tenth of the time
            column = np.array(values, dtype=np.float64)
            return np.where(np.abs(column) < 1e100, column, np.nan)
    return np.array([math.nan if (value := as_number(one)) is None else value for one in values], dtype=np.float64)


def _rounded(values: Floats) -> Floats:
    """To DIGITS digits."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        exponent = DIGITS - 1 - np.floor(np.log10(np.abs(values)))
        exponent = np.where(np.isfinite(exponent), exponent, 0)
        up = np.round(values * 10.0 ** np.maximum(exponent, 0)) / 10.0 ** np.maximum(exponent, 0)
        down = np.round(values / 10.0 ** np.maximum(-exponent, 0)) * 10.0 ** np.maximum(-exponent, 0)
        found = np.where(exponent >= 0, up, down)
    return np.where(np.isfinite(found), found, values)


def _seconds(stamps: Sequence[Any]) -> list[int]:
    """When lines were written, in seconds since one moment; where one does not say, as the one before."""
    with contextlib.suppress(ValueError, TypeError):
        if len({stamp[19:] for stamp in stamps}) == 1:  # in one zone, as is usual: at a fifth of the time
            times = np.array([stamp[:19] for stamp in stamps], dtype="datetime64[s]")
            if not np.isnat(times).any():
                seconds: list[int] = times.astype(np.int64).tolist()
                return seconds
    found: list[int] = []
    for stamp in stamps:
        try:
            found.append(int(datetime.fromisoformat(_with_colon(str(stamp))).timestamp()))
        except (ValueError, OverflowError, OSError):
            found.append(found[-1] if found else 0)
    return found


def _with_colon(stamp: str) -> str:
    """Python 3.10 reads a zone with a colon only."""
    return f"{stamp[:-2]}:{stamp[-2:]}" if stamp[-5:-4] in ("+", "-") else stamp


def _differences(values: Sequence[int]) -> list[int]:
    return [value - before for value, before in zip(values, [0, *values], strict=False)]
