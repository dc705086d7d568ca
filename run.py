"""The one entry: `python run.py [experiment=…] [setting=value …]`; `--help` and `--cfg job` show what there is to set."""

from launch.plan import main

if __name__ == "__main__":
    main()
