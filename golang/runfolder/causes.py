"""Why an attempt ended, in one word of a fixed set: what cause.json says."""

from __future__ import annotations

import enum

LATE = "the next attempt"  # by whom a cause is named that the attempt itself had no time to name


class Word(str, enum.Enum):
    """Said by a rank, by the launcher by Slurm's word, or by the batch script (launch/node/job.sh) for ranks that could
    not."""

    FINISHED = "finished"
    # asked to stop, and saved
    INTERRUPTED = "interrupted"
    TERMINATED = "terminated"
    SESSION_LOST = "session lost"  # the terminal's, as over SSH
    TIME_LIMIT = "time limit"
    PREEMPTED = "preempted"
    CANCELLED = "cancelled"
    # another attempt may go better
    PEER_LOST = "peer lost"
    HANG = "hang"
    KILLED = "killed"  # a rank left no word, until someone knows better
    NODE_LOST = "node lost"
    DISK = "disk"
    NETWORK = "network"  # between the ranks
    DEVICE = "CUDA or NCCL error"
    # another attempt would fail too
    MEMORY = "out of memory"
    NON_FINITE = "non-finite"
    DATA = "data"
    SETTINGS = "settings"
    CHECKPOINT = "checkpoint"
    REFUSED = "refused"
    BUG = "bug"

    def __str__(self) -> str:
        return self.value
