"""Which images make up which step: a function of the step's number, so a cursor is just that number."""

from __future__ import annotations

from collections.abc import Iterator

from torch.utils.data import Sampler

from golang import randomness
from golang.errors import ConfigError
from golang.randomness import Purpose


class StepSampler(Sampler[list[tuple[int, int]]]):
    """One rank's share of every step from `start_step` up to, not including, `total_steps`, across epochs.

    Each epoch has its own order of all images, the same on every rank; what does not fill a last batch is excluded.
    Step k of an epoch takes rows [k·B, (k + 1)·B) of that order and rank r the r-th of `world` equal parts of them:
    another number of ranks sees the same images in every step.

    `size` counts the set's images, and `batch_size` (B) those of a step over all ranks. Raises ConfigError when a step
    would be empty, or the ranks' shares would not be equal.
    """

    def __init__(
        self, size: int, batch_size: int, total_steps: int, seed: int, *,
        start_step: int = 0, rank: int = 0, world: int = 1,
    ) -> None:  # fmt: skip
        if batch_size < 1:
            raise ConfigError(f"optim.batch_size={batch_size} must be at least 1")
        if size < batch_size:
            raise ConfigError(
                f"optim.batch_size={batch_size} is more than the {size} images of the set, so an epoch has no step; "
                f"set optim.batch_size={size} or less, or check data.root"
            )
        if not 0 <= rank < world:
            raise ConfigError(f"rank {rank} does not exist among {world} processes; check the launcher's environment")
        if batch_size % world:
            raise ConfigError(
                f"optim.batch_size={batch_size} cannot be shared equally by {world} processes; "
                f"set optim.batch_size={-(-batch_size // world) * world}, or run on another number of devices"
            )
        self.size, self.batch_size, self.total_steps, self.seed = size, batch_size, total_steps, seed
        self.start_step, self.rank, self.world = start_step, rank, world
        self.steps_per_epoch = size // batch_size

    def __len__(self) -> int:
        return max(0, self.total_steps - self.start_step)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        """A list of (epoch, index) a step, batch_size / world long."""
        share = self.batch_size // self.world
        current = -1
        for step in range(self.start_step, self.total_steps):
            epoch, k = divmod(step, self.steps_per_epoch)
            if epoch != current:
                order = randomness.permutation(self.size, self.seed, Purpose.ORDER, epoch)
                current = epoch
            first = k * self.batch_size + self.rank * share
            yield [(epoch, index) for index in order[first : first + share].tolist()]
