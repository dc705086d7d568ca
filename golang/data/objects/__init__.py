"""Where things are in images: boxes, masks, and the class of every pixel."""
