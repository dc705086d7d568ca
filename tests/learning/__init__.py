"""Does the demo's recipe learn? Not part of the suite: python -m tests.learning.check."""
