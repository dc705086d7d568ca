"""Debian's Chromium, for Playwright."""

PATH = "/usr/bin/chromium"
ARGUMENTS = ["--no-sandbox", "--disable-dev-shm-usage"]  # as root it has no sandbox of its own
