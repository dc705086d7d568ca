"""`python -m golang RUN_DIR`: trains or continues the run in a folder, as one rank."""

import sys

from golang.logs import leave_now
from golang.processes.worker import main

if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m golang RUN_DIR")
    leave_now(main(sys.argv[1]))
