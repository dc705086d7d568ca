"""Exit statuses: the one table of trainer, launcher and batch script."""

from __future__ import annotations

REFUSED = 2  # settings, data or a checkpoint that a person has to mend
NO_SLURM = 69  # Slurm is missing, silent, or said no
NOT_MET = 70  # rank 0 was not heard of
BUSY = 73  # another process holds the run or the sweep
NON_FINITE = 74  # NaN or Inf in the loss or a gradient
STOPPED = 75  # saved, to be continued (EX_TEMPFAIL)
PEER_LOST = 76
HUNG = 77
NO_PROGRESS = 78  # several attempts in a row saved nothing new
STORAGE = 79
INTERRUPTED = 130  # a second Ctrl-C
ORPHANED = 137  # the process that started the ranks is gone
FOR_GOOD = (REFUSED, NON_FINITE, NO_PROGRESS)  # what another attempt cannot mend
