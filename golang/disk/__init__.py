"""Files and locks on disks that others share, as any room needs them."""
