"""A sweep's page while it goes on: served on this machine alone, to those who have its token."""
