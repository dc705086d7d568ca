"""The training of a run: loop, step, optimiser, checkpoint, metrics."""
