"""Network weights in files."""
