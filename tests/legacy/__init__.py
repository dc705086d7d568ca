"""Runs and jobs that the code of before its rooms has begun go on with the code of now."""
