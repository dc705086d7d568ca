"""`python -m golang.evaluation RUN_DIR`: evaluates a run, draws its pictures and shows them."""

import sys

from golang.demo import show_results
from golang.engine.worker import set_up_logging
from golang.errors import GolangError

if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m golang.evaluation RUN_DIR")
    set_up_logging(0)
    try:
        show_results(sys.argv[1])
    except GolangError as error:
        sys.exit(str(error))
