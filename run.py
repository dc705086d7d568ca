"""The one entry: `python run.py [experiment=…] [setting=value …]`; `--cfg job` shows what there is to set.

A shell that completes settings looks for the words @hydra.main in this file.
"""

import sys

from launch.errors import without

if __name__ == "__main__":
    try:
        from launch.planning.app import main

        sys.exit(main(sys.argv))
    except ModuleNotFoundError as error:
        sys.exit(without(error))
