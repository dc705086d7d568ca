"""Runs as records: what their folders say, read without torch."""
