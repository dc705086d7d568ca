"""A Slurm cluster to try things on: `python -m tests.slurm up`, `status` and `down`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from .cluster import Cluster, ClusterError, Config

_FOLDER = Path(__file__).resolve().parents[2] / ".cluster"


def main(argv: list[str] | None = None) -> int:
    """Do what the command line says; 0 if all is well, else 1 with the reason on stderr."""
    arguments = _parser().parse_args(argv)
    try:
        return {"up": _up, "down": _down, "status": _status}[arguments.command](arguments)
    except (ClusterError, TimeoutError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _up(arguments: argparse.Namespace) -> int:
    cluster = Cluster(Config(arguments.folder, nodes=arguments.nodes, accounting=arguments.accounting))
    cluster.up()
    print(cluster.run("sinfo").stdout)
    print("Partition high preempts low, which requeues with 10 s of grace. Daemon logs:", cluster.log)
    print(f"Use it:   export SLURM_CONF={cluster.environment()['SLURM_CONF']}")
    print("          srun --nodes=2 hostname")
    print("Look:     python -m tests.slurm status")
    print("End it:   python -m tests.slurm down")
    return 0


def _down(arguments: argparse.Namespace) -> int:
    if arguments.after_stdin:
        sys.stdin.read()  # returns when the process at the other end of the pipe closes it or dies
    cluster = Cluster(Config(arguments.folder))
    ran = cluster.running()
    cluster.down(remove=not arguments.keep)
    if not arguments.after_stdin:
        print(f"ended the cluster in {cluster.folder}" if ran else f"no cluster ran in {cluster.folder}")
    return 0


def _status(arguments: argparse.Namespace) -> int:
    cluster = Cluster(Config(arguments.folder))
    if not cluster.running():
        print(f"no cluster runs in {cluster.folder}. Start one: python -m tests.slurm up")
        return 1
    print(f"export SLURM_CONF={cluster.environment()['SLURM_CONF']}\n")
    print(cluster.run("sinfo", "--Node", "--long").stdout)
    print(cluster.run("squeue", "--all").stdout, end="")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.slurm", description="a real Slurm cluster on loopback")
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="start it, or what is missing of it; says how to use it")
    up.add_argument("--nodes", type=int, default=3, help="virtual nodes (3)")
    up.add_argument("--accounting", action="store_true", help="with slurmdbd and MariaDB, for sacct")
    down = commands.add_parser("down", help="end it and its jobs, remove its folder")
    down.add_argument("--keep", action="store_true", help="leave the folder, for its logs and its state")
    down.add_argument("--after-stdin", action="store_true", help=argparse.SUPPRESS)
    status = commands.add_parser("status", help="nodes and jobs")
    for command in (up, down, status):
        command.add_argument("--folder", type=Path, default=_FOLDER, help="where it lives (.cluster)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
