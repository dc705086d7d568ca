"""From settings to processes: a library call, one rank, this machine's ranks."""
