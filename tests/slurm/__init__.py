"""Tests against a real Slurm: virtual nodes on loopback (`python -m tests.slurm up` starts some by hand)."""
