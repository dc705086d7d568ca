"""A set in a few large files: tar archives that are read by offset, and what says where each image lies in them."""
