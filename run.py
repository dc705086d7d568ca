"""The one entry: `python run.py [experiment=…] [setting=value …]`; `--cfg job` shows what there is to set."""

import sys

from launch.errors import without

try:
    from launch.planning.plan import main
except ModuleNotFoundError as error:
    sys.exit(without(error))

if __name__ == "__main__":
    main()
