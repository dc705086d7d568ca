"""The launcher: from a command line to jobs that Slurm may stop and bring back."""
