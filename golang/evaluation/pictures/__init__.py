"""Pictures of checkpoints and runs."""
