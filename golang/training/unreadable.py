"""Which images of the set turned out to be unreadable: agreed on by all ranks, named once in a run, carried across
restarts, and too many of them for a run to go on."""

from __future__ import annotations

import logging

import torch
from torch import Tensor

from golang.data.decode import UnreadableImageError
from golang.data.images import MOST_UNREADABLE, ImageSet
from golang.engine.distributed import ControlGroup
from golang.errors import DataError

log = logging.getLogger(__name__)


class Unreadable:
    """The unreadable images this rank knows of: its own, and everyone's at the last `agree`."""

    def __init__(self, images: ImageSet, words: object) -> None:
        """`words` are what the error's remedy gives to `python -m golang.data check`: where the set lies."""
        self.images, self.words = images, words
        self._known = torch.zeros(len(images), dtype=torch.bool)
        self._agreed = self._known.clone()
        self._checked = True

    def note(self, indices: Tensor) -> None:
        """Adds the unreadable images of a batch, int64 [any number]."""
        self._known[indices] = True

    def agree(self, control: ControlGroup, name: bool) -> int:
        """How many images all ranks together have met and could not read, the same on every rank. All ranks call it at
        the same step; where `name` is set, what is new is named in the log.

        Raises DataError when they are more than MOST_UNREADABLE percent of the set.
        """
        news = control.maximum(torch.tensor([int((self._known & ~self._agreed).sum())]))
        if int(news) or not self._checked:
            self._known = control.maximum(self._known.to(torch.uint8)).bool()
            for index in (self._known & ~self._agreed).nonzero().flatten().tolist() if name else ():
                log.warning("unreadable, the image after it is taken instead: %s", self._reason(index))
            self._agreed = self._known.clone()
            self._check()
            self._checked = True
        return int(self._agreed.sum())

    def pack(self) -> Tensor:
        """What this rank knows, a bit an image: uint8 [⌈N / 8⌉]."""
        bits = torch.zeros(-(-len(self._known) // 8) * 8, dtype=torch.uint8)
        bits[: len(self._known)] = self._known
        return (bits.view(-1, 8) << torch.arange(8, dtype=torch.uint8)).sum(1, dtype=torch.uint8)

    def restore(self, packed: Tensor) -> None:
        """Takes over what all ranks knew, uint8 [W, ⌈N / 8⌉] of `pack`; what they named is not named again."""
        bits = (packed[..., None] >> torch.arange(8, dtype=torch.uint8)) & 1
        self._known = bits.flatten(1).any(0)[: len(self._known)]
        self._agreed = self._known.clone()
        self._checked = False

    def _fault(self, index: int) -> DataError | None:
        try:
            self.images.load(index)
        except DataError as error:
            return error
        return None

    def _reason(self, index: int) -> str:
        fault, path = self._fault(index), str(self.images.path(index))
        if isinstance(fault, UnreadableImageError):
            return str(fault).partition("\n")[0]
        return path if fault else f"{path} (readable again by now)"

    def _check(self) -> None:
        if int(self._known.sum()) <= self.images.most_unreadable:
            return
        # A run that goes on after its files were mended remembers more of them than there still are.
        bad = [i for i in self._known.nonzero().flatten().tolist() if self._fault(i)]
        if len(bad) > self.images.most_unreadable:
            raise DataError(
                f"{len(bad)} of {len(self.images)} images are unreadable so far, more than {MOST_UNREADABLE} %; the "
                f"first is {self._reason(bad[0])}\n`python -m golang.data check {self.words}` lists them all and says "
                "what to do; then start the same command again"
            )
