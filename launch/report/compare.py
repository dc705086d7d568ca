"""Two runs beside each other: what differs, where their curves part, which classes moved."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from golang.config import Config
from golang.config.identity import OUTSIDE, flat
from golang.errors import GolangError
from golang.records import record
from golang.records.record import Metrics, Record, is_below
from golang.runfolder.files import as_number, read_json
from golang.runfolder.folder import Attempt
from golang.runfolder.results import per_class
from launch.sweep.folder import frozen_code

FINGERPRINTS = ("data.train.fingerprint", "data.val.fingerprint")
Kind = Literal["setting", "data", "code", "version"]


class CompareError(GolangError):
    """There are no two runs to compare."""


@dataclass(frozen=True)
class Difference:
    """What is one thing in one run and another in the other; "–" where a run does not say."""

    kind: Kind
    key: str
    one: str
    other: str
    counts: bool  # whether it can change the result; a setting that does not says how comfortably a run happens


@dataclass(frozen=True)
class Parting:
    """Where two curves of the loss part: at the first step that both logged and at which it differs."""

    steps: int  # that both logged with a loss
    at: int | None  # None: it is the same at all of them
    before: int | None  # the last step at which it was the same; None: there is none
    first: tuple[float, float] | None  # the losses at `at`
    end: int  # the last step that both logged
    last: tuple[float, float]  # the losses there


@dataclass(frozen=True)
class Score:
    """A figure that both have, in points: of an evaluation, or of one class in it."""

    evaluation: str
    label: str  # the class; "" for the evaluation's own
    one: float
    other: float

    @property
    def moved(self) -> float:
        return self.other - self.one


@dataclass(frozen=True)
class Comparison:
    """Two runs."""

    one: Record
    other: Record
    differences: tuple[Difference, ...]
    parting: Parting | None  # None: no step has a loss in both
    scores: tuple[Score, ...]
    classes: tuple[Score, ...]  # those that moved, the most moved first
    missing: tuple[str, ...]  # what could not be compared, a sentence each


def compared(one: Path, other: Path) -> Comparison:
    """Compares the runs in two folders. Raises CompareError if they are one."""
    if one.resolve() == other.resolve():
        raise CompareError(f"{one} is named twice; name two runs: python -m launch status lists them")
    runs = record.read(one), record.read(other)
    parting = _parting(runs[0].metrics(), runs[1].metrics())
    scores, classes, missing = _scores(*runs)
    if parting is None:
        missing.insert(0, "no logged step has a loss in both runs, so their curves can't be compared")
    troubles = [f"{run.name}: {trouble}" for run in runs for trouble in run.troubles]
    return Comparison(*runs, tuple(_differences(*runs)), parting, scores, classes, (*missing, *troubles))


def _differences(one: Record, other: Record) -> Iterator[Difference]:
    settings = [_settings(run) for run in (one, other)]
    keys = [key for key in settings[0] if key in settings[1] and key not in FINGERPRINTS]
    for key in sorted(keys, key=lambda key: is_below(key, OUTSIDE)):
        yield from _differing("setting", key, settings, not is_below(key, OUTSIDE))
    for key in FINGERPRINTS:
        yield from _differing("data", key, settings, key == FINGERPRINTS[0])
    code = [{"snapshot": frozen_code(run.path)} for run in (one, other)]
    yield from _differing("code", "snapshot", code, True)
    versions = [_versions(run) for run in (one, other)]
    for key in dict.fromkeys([*versions[0], *versions[1]]):
        yield from _differing("version", key, versions, True)


def _differing(kind: Kind, key: str, of: Sequence[Mapping[str, Any]], counts: bool) -> Iterator[Difference]:
    one, other = ("–" if run.get(key) in (None, "") else str(run[key]) for run in of)
    if one != other:
        yield Difference(kind, key, one, other, counts)


def _settings(run: Record) -> dict[str, Any]:
    """With the defaults of those that came after the run; of one that can't be read, what was typed alone."""
    whole = read_json(run.folder.config_file)
    return (flat(Config().to_dict()) if whole else {}) | run.settings


def _versions(run: Record) -> dict[str, str]:
    """What the attempts ran with, by name; where it changed on the way, one after the other."""
    found: dict[str, dict[str, None]] = {}
    for attempt in run.attempts:
        start = Attempt(run.folder, attempt.number).start()
        versions = start.get("versions")
        for key, value in (versions if isinstance(versions, dict) else {}).items():
            found.setdefault(key, {})[str(value)] = None
        found.setdefault("ranks", {})[str(attempt.ranks)] = None
    return {key: ", then ".join(values) for key, values in found.items()}


def _parting(one: Metrics, other: Metrics) -> Parting | None:
    losses = [{line["step"]: line["loss"] for line in lines if _is_loss(line.get("loss"))} for lines in (one, other)]
    common = [(step, (losses[0][step], losses[1][step])) for step in sorted(losses[0].keys() & losses[1].keys())]
    if not common:
        return None
    differing = [place for place, (_, (mine, theirs)) in enumerate(common) if repr(mine) != repr(theirs)]  # NaN is NaN
    end, last = common[-1]
    if not differing:
        return Parting(len(common), None, end, None, end, last)
    place = differing[0]
    at, first = common[place]
    return Parting(len(common), at, common[place - 1][0] if place else None, first, end, last)


def _is_loss(value: object) -> bool:
    return isinstance(value, float) or as_number(value) is not None


def _scores(one: Record, other: Record) -> tuple[tuple[Score, ...], tuple[Score, ...], list[str]]:
    scores, classes, missing = [], [], []
    found = one.evaluations(), other.evaluations()
    for name in sorted(one.scores.keys() & other.scores.keys()):
        scores.append(Score(name, "", one.scores[name], other.scores[name]))
        mine, theirs = (per_class(facts.get(name, {})) for facts in found)
        classes += [Score(name, label, mine[label], theirs[label]) for label in mine.keys() & theirs.keys()]
        if alone := len(mine.keys() ^ theirs.keys()):
            missing.append(f"{name}: {alone} classes were measured in one of the runs only")
    if not scores:
        missing.append("no evaluation was made of both runs")
    moved = sorted((one for one in classes if one.moved), key=lambda one: (-abs(one.moved), one.evaluation, one.label))
    return tuple(scores), tuple(moved), missing
