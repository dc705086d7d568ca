"""From a trace to an answer: how much a rank needs at most, which cards have it, by how many micro-batches one has."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from golang.config import Config
from golang.config.checks import check, check_world
from golang.memory.allocator import Event, OutOfMemoryError, Use, replay
from golang.memory.trace import trace

CARDS = (8, 12, 16, 24, 40, 48, 80, 141)  # GB that GPUs are sold with
KEPT = 2**30  # bytes of a card for all that is not torch's allocator's

Progress = Callable[[Config], None]  # told the settings of a step that is about to be traced


@dataclass(frozen=True)
class Estimate:
    """What one of `ranks` ranks of a training needs of its GPU."""

    config: Config
    ranks: int
    lasting: dict[str, int]  # bytes that lie there all the time, by what they are for
    most: Use
    events: list[Event]

    def fits(self, card: float) -> bool:
        """Whether a GPU of `card` GB has it: 10⁹ bytes each, less what is KEPT."""
        try:
            replay(self.events, int(card * 1e9) - KEPT)
        except OutOfMemoryError:
            return False
        return True


def estimate(config: Config, ranks: int, progress: Progress) -> Estimate:
    """Raises ConfigError for settings that cannot work, or not on so many ranks."""
    check(config)
    check_world(config, ranks)
    if config.precision == "auto":
        config = replace(config, precision="bf16")  # what a GPU makes of it
    progress(config)
    traced = trace(config, ranks)
    return Estimate(config, ranks, traced.lasting, replay(traced.events), traced.events)


def fitting(whole: Estimate, card: float, progress: Progress) -> Estimate | None:
    """With the least `optim.accumulate`, from that of `whole` on, that fits a card of `card` GB; None if none does."""
    config, lasting = whole.config, sum(whole.lasting.values())
    least, share = config.optim.accumulate, config.optim.batch_size // whole.ranks
    for count in (count for count in range(least, share + 1) if share % count == 0):
        # What does not last is at best divided: a count that would be too few even so is not traced.
        if lasting + (whole.most.allocated - lasting) * least / count > card * 1e9 - KEPT:
            continue
        one = whole
        if count != least:
            parts = replace(config, optim=replace(config.optim, accumulate=count))
            one = estimate(parts, whole.ranks, progress)
        if one.fits(card):
            return one
    return None
