"""Weights & Biases, fed from a run's folder by a process beside the training."""
