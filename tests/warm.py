"""What ranks and pools of tests need, imported once in the process that they are all forked from."""

# ruff: noqa: F401
from __future__ import annotations

import gc

import pytest  # of the test modules, whose functions ranks run

import golang.data.toy.write
import golang.evaluation.job
import golang.processes.worker
import tests.golden.runs
import tests.resume.harness

gc.collect()
gc.freeze()  # no collector of a rank looks at these objects, which would copy their pages
