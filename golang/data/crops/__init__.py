"""Crops of an image: their parameters, and the three ways to make them."""
