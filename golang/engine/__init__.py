"""One attempt at a run on one rank, whatever it computes."""
