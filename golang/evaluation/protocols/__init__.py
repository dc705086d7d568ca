"""Evaluations by published protocols, and by nearest neighbours."""
