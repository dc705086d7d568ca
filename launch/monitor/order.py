"""Which runs, and in which order: what one looks at first, the newest, the best."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence

from golang.records.lives import when
from launch.monitor.status import Standing
from launch.sweep.find import NotFoundError

# What one looks at first. A state that is not here is one of Slurm's own, between running and waiting.
STATES = (
    "running", "", "failed", "died", "stuck", "stopped", "gone", "not submitted", "waiting", "submitted", "cancelled",
    "finished",
)  # fmt: skip
UNDER_WAY = frozenset({"running", "waiting", "suspended", "completing"})
PERSON = frozenset({"failed", "died", "stuck", "stopped", "gone", "not submitted"})  # it stays so until one acts
KEYS = ("name", "state", "step", "loss", "mAP", "attempts", "updated")


def by(lines: Sequence[Standing], key: str) -> list[Standing]:
    """Sorted by one of `KEYS`: states as one looks at them, the lowest loss first, of all others the most or the
    newest; what lacks it comes last, and equals stay as they were."""
    if key == "name":
        return list(lines)
    name = measure(lines)
    values: dict[str, Callable[[Standing], float | None]] = {
        "state": lambda line: STATES.index(line.state if line.state in STATES else ""),
        "step": lambda line: -line.step,
        "loss": lambda line: line.loss,
        "mAP": lambda line: -line.mAP[name] if name in line.mAP else None,
        "attempts": lambda line: -line.attempts,
        "updated": lambda line: None if (second := when(line.updated)) is None else -second,
    }
    found = [(values[key](line), line) for line in lines]
    there = sorted(((value, line) for value, line in found if value is not None), key=lambda pair: pair[0])
    return [*(line for _, line in there), *(line for value, line in found if value is None)]


def measure(lines: Sequence[Standing]) -> str:
    """What measured the mAP of most runs; "" if there is none."""
    counts = Counter(sorted(name for line in lines for name in line.mAP))
    return max(counts, key=lambda name: counts[name], default="")


def of_states(lines: Sequence[Standing], states: Collection[str]) -> list[Standing]:
    """Those in one of the states. Raises NotFoundError, naming what there is, for a state that no run has."""
    there = Counter(line.state for line in lines)
    if missing := [state for state in states if state not in there]:
        counts = ", ".join(f"{count} {state}" for state, count in there.items())
        raise NotFoundError(f"no run is {' or '.join(map(repr, missing))}; there are: {counts}")
    return [line for line in lines if line.state in states]


def matching(lines: Sequence[Standing], words: str) -> list[Standing]:
    """Those in whose name, state, node, job or last event each of the words stands, in capitals or not."""
    asked = words.lower().split()
    texts = (f"{one.sweep} {one.run} {one.state} {one.node} {one.job} {one.last}".lower() for one in lines)
    return [line for line, text in zip(lines, texts, strict=True) if all(word in text for word in asked)]
