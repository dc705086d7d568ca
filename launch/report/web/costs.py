"""What a run cost beside its useful steps: waiting in the queue, steps done again, starting and stopping."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from golang.records.lives import repeated
from launch.report.outcome import RunOutcome

GOODPUT = (
    "Goodput is useful over total GPU-seconds. Useful: every step that stands in metrics.jsonl counts once, with the "
    "`step_seconds` of its log line (wall time a step, waiting for data and periodic saves included) times the ranks "
    "of its attempt, at most as long as the attempt was; steps after an attempt's last line count as that line's; a "
    "step that was done again counts by its last time only. Total: for each attempt, its ranks times the seconds from "
    "its start.json to its cause.json (without one of its own, to the last that it wrote). The difference is starting, "
    "repeating steps, last saves, and waiting to be stopped. Time in the queue counts in neither. A rank is a GPU, or "
    "a process where there is none."
)
RULE = (
    "Waiting: from a submission, or from the end of the attempt before, to the start of the next attempt; attempts on "
    "the same nodes did not wait. Steps done again are charged to what ended the attempt that had done them, at the "
    "mean GPU-seconds of the run's steps that stand. The rest of what was not useful is starting, saving and stopping."
)


@dataclass(frozen=True)
class Costs:
    """Of one run; seconds."""

    waits: tuple[float, ...]  # before each attempt
    again: dict[str, float]  # GPU-seconds of steps done again, by what ended the attempt before
    steps_again: dict[str, int]
    rest: float  # GPU-seconds that were neither useful nor a step done again


def costs(run: RunOutcome) -> Costs:
    """Of a run as it stands."""
    waits, before = [], 0.0
    for attempt in run.attempts:
        asked = max((moment for moment in run.submitted if moment <= attempt.began), default=0.0)
        begun = max(before, asked)
        waits.append(max(0.0, attempt.began - begun) if begun and not attempt.in_place else 0.0)
        before = attempt.ended
    steps: Counter[str] = Counter()
    for attempt, again in zip(run.attempts, repeated(run.attempts), strict=False):
        steps[attempt.cause] += again
    pace = run.useful / run.step if run.step else 0.0
    lost = max(0.0, run.total_seconds - run.useful)
    wanted = pace * sum(steps.values())
    share = min(1.0, lost / wanted) if wanted else 0.0
    charged = {cause: count * pace * share for cause, count in steps.items() if count}
    steps_again = {cause: count for cause, count in steps.items() if count}
    return Costs(tuple(waits), charged, steps_again, lost - sum(charged.values()))
