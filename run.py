"""The one entry: `python run.py [experiment=…] [setting=value …]`; `--cfg job` shows what there is to set."""

from launch.plan import main

if __name__ == "__main__":
    main()
