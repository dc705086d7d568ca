"""The quick linear probe."""
