"""The accounting half of a cluster: MariaDB on an empty data folder, and slurmdbd in front of it."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

from .conf import user_name
from .processes import ClusterError, wait_for

_SETUP = """
create database if not exists slurm_acct_db;
create user if not exists slurm@127.0.0.1 identified by 'slurm';
create user if not exists slurm@localhost identified by 'slurm';
grant all on slurm_acct_db.* to slurm@127.0.0.1;
grant all on slurm_acct_db.* to slurm@localhost;
"""
# Small and careless: nobody needs these records after a crash of the machine.
_TUNING = ["--innodb-buffer-pool-size=16M", "--innodb-log-file-size=4M"]
_CARELESS = [
    "--innodb-flush-log-at-trx-commit=0", "--innodb-doublewrite=0", "--innodb-flush-method=nosync",
    "--innodb-lock-wait-timeout=900", "--skip-log-bin", "--performance-schema=OFF",
]  # fmt: skip


def start(folder: Path, port: int, start_daemon: Callable[[str, list[str]], None], environment: dict[str, str]) -> None:
    """Start MariaDB on `port + 1` and slurmdbd on `port + 2`, each ready when this returns; `ClusterError` if not.

    `start_daemon(name, argv)` starts a program that goes to the background unless it runs already.
    """
    data, server = folder / "db" / "data", folder / "run" / "mariadb.socket"
    here = ["--no-defaults", f"--datadir={data}", f"--user={user_name()}", *_TUNING]

    def client(program: str, *argv: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [program, *argv], env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60
        )

    def must(done: subprocess.CompletedProcess[str]) -> str:
        if done.returncode:
            raise ClusterError(f"{done.args[0]}: exit {done.returncode}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout

    def sql(text: str) -> subprocess.CompletedProcess[str]:
        return client("mariadb", "--no-defaults", "--user=root", f"--socket={server}", f"--execute={text}")

    if not (data / "mysql").is_dir():
        must(client("mariadb-install-db", *here, "--auth-root-authentication-method=normal", "--skip-test-db"))
    # mariadbd has no background mode of its own.
    start_daemon(
        "mariadbd",
        [
            "setsid", "--fork", "mariadbd", *here, *_CARELESS, "--bind-address=127.0.0.1", f"--port={port + 1}",
            f"--socket={server}", f"--pid-file={folder}/run/mariadbd.pid", f"--log-error={folder}/log/mariadbd.log",
        ],
    )  # fmt: skip
    wait_for(lambda: sql("select 1").returncode == 0, 30.0, f"MariaDB answers (log in {folder}/log/mariadbd.log)")
    must(sql(_SETUP))
    start_daemon("slurmdbd", ["slurmdbd"])
    wait_for(lambda: _listens(port + 2), 30.0, f"slurmdbd listens (log in {folder}/log/slurmdbd.log)")
    if "loopback" not in must(client("sacctmgr", "--noheader", "--parsable2", "show", "cluster", "loopback")):
        must(client("sacctmgr", "--immediate", "add", "cluster", "loopback"))


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
