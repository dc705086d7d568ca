"""What a machine, its Slurm and its disks mean for runs."""
