"""torch's caching allocator of CUDA memory, played without memory: which blocks a sequence of requests gets, how much
of the GPU it takes for them, and whether a GPU of a given size has that.

The rules and sizes are those of c10/cuda/CUDACachingAllocator.cpp with its default settings: one stream, best fit.
"""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field

MIB = 2**20
ROUND = 512  # bytes; every block is a multiple
SMALL = MIB  # the largest block of the small pool
SMALL_SEGMENT, LARGE_SEGMENT, OWN_SEGMENT, ROUND_SEGMENT = 2 * MIB, 20 * MIB, 10 * MIB, 2 * MIB

Event = tuple[int, int]  # a block's number, and the bytes asked for it; 0 gives it back


class OutOfMemoryError(Exception):
    """The GPU has no more, even when all that is cached is given back."""


@dataclass
class Block:
    """A part of a segment, between its neighbours."""

    size: int
    order: int  # among blocks of its size, the oldest first
    before: Block | None = None
    after: Block | None = None
    free: bool = False


@dataclass
class Use:
    """In bytes, each at its highest."""

    allocated: int = 0
    reserved: int = 0


@dataclass
class Allocator:
    """Of a GPU with `capacity` bytes for it; None is one without an end."""

    capacity: int | None = None
    allocated: int = 0
    reserved: int = 0
    most: Use = field(default_factory=Use)

    def __post_init__(self) -> None:
        self._free: dict[bool, list[tuple[int, int, Block]]] = {True: [], False: []}  # of the small pool, of the large
        self._orders = itertools.count()

    def allocate(self, size: int) -> Block:
        """A block for `size` bytes. Raises OutOfMemoryError."""
        size = max(ROUND, _up(size, ROUND))
        small = size <= SMALL
        free = self._free[small]
        found = bisect.bisect_left(free, (size,))
        block = free.pop(found)[2] if found < len(free) else self._segment(size)
        block.free = False
        if block.size - size >= ROUND if small else block.size - size > SMALL:
            rest = Block(block.size - size, next(self._orders), block, block.after, free=True)
            if rest.after is not None:
                rest.after.before = rest
            block.size, block.after = size, rest
            self._keep(rest, small)
        self.allocated += block.size
        self.most.allocated = max(self.most.allocated, self.allocated)
        return block

    def release(self, block: Block, size: int) -> None:
        """Takes back a block that was allocated for `size` bytes."""
        small = _up(size, ROUND) <= SMALL
        self.allocated -= block.size
        for other in (block.before, block.after):
            if other is not None and other.free:
                free = self._free[small]
                del free[bisect.bisect_left(free, (other.size, other.order))]
        if (before := block.before) is not None and before.free:
            before.size, before.after = before.size + block.size, block.after
            block = before
        if (after := block.after) is not None and after.free:
            block.size, block.after = block.size + after.size, after.after
        if block.after is not None:
            block.after.before = block
        self._keep(block, small)

    def _keep(self, block: Block, small: bool) -> None:
        block.free = True
        bisect.insort(self._free[small], (block.size, block.order, block))

    def _segment(self, size: int) -> Block:
        if size <= SMALL:
            whole = SMALL_SEGMENT
        else:
            whole = LARGE_SEGMENT if size < OWN_SEGMENT else _up(size, ROUND_SEGMENT)
        if self.capacity is not None and self.reserved + whole > self.capacity:
            self._give_back()
            if self.reserved + whole > self.capacity:
                raise OutOfMemoryError
        self.reserved += whole
        self.most.reserved = max(self.most.reserved, self.reserved)
        return Block(whole, next(self._orders))

    def _give_back(self) -> None:
        """All segments of which nothing is in use."""
        for small, free in self._free.items():
            whole = [entry for entry in free if entry[2].before is None and entry[2].after is None]
            self.reserved -= sum(size for size, _, _ in whole)
            self._free[small] = [entry for entry in free if entry not in whole]


def replay(events: Iterable[Event], capacity: int | None = None) -> Use:
    """What a sequence of requests comes to on a GPU with `capacity` bytes for it. Raises OutOfMemoryError."""
    allocator = Allocator(capacity)
    blocks: dict[int, tuple[Block, int]] = {}
    for number, size in events:
        if size:
            blocks[number] = allocator.allocate(size), size
        else:
            allocator.release(*blocks.pop(number))
    return allocator.most


def _up(size: int, multiple: int) -> int:
    return -(-size // multiple) * multiple
