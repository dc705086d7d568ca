"""`python -m golang.evaluation RUN_DIR`: evaluates a run, draws its pictures and shows them."""

import logging
import sys

from golang.demo import show_results
from golang.engine.runfolder import RunFolder
from golang.engine.worker import set_up_logging
from golang.errors import GolangError
from golang.tracking.publish import publish

log = logging.getLogger("golang")

if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m golang.evaluation RUN_DIR")
    set_up_logging(0)
    try:
        show_results(sys.argv[1])
        if RunFolder(sys.argv[1]).config().tracking.name != "none":
            log.info("W&B: %s", publish(sys.argv[1], job_type="eval"))
    except GolangError as error:
        sys.exit(str(error))
