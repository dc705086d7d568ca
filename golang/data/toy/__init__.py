"""The generated set of scenes."""
