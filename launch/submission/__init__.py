"""From a plan to Slurm's queue or this machine's."""
