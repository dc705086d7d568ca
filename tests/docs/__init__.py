"""README and docs as a reader meets them: every block run, every link followed, every message known to the code."""
