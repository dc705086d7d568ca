"""Python that has imported torch already, and forks for each program that a block starts: a start costs nothing then.

`serve` is the process that forks; a program of `tests.docs.shell` tells it what to run and waits for the status.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from golang.logs import leave_now

IMPORTED = [
    "torch", "torchvision", "sklearn.linear_model", "sklearn.metrics", "matplotlib", "hydra", "rich.console",
    "golang.processes.local", "golang.evaluation.summary", "golang.evaluation.protocols.knn", "golang.weights.layouts",
    "golang.evaluation.pictures.attention", "launch.planning.app", "launch.submission.submit",
]  # fmt: skip


def serve(address: str) -> list[str]:
    """Listens at `address` until its parent is gone. Returns in the fork that is to be a program, with its words."""
    for name in IMPORTED:
        importlib.import_module(name)
    gc.freeze()
    server, parent = socket.socket(socket.AF_UNIX), os.getppid()
    server.bind(address)
    server.listen()
    server.settimeout(1.0)
    while os.getppid() == parent:
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        with contextlib.suppress(TimeoutError):
            asked, _ = server.accept()
            if os.fork() == 0:
                server.close()
                return _program(asked)
            asked.close()
    os._exit(0)


def _program(asked: socket.socket) -> list[str]:
    """Forks once more: this process tells the status, the other one becomes the program."""
    asked.settimeout(None)
    message, files, _, _ = socket.recv_fds(asked, 2**20, 3)
    while not message.endswith(b"\n"):
        message += asked.recv(2**20)
    if child := os.fork():
        for file in files:
            os.close(file)
        ended = os.pidfd_open(child)
        if ended not in select.select([asked, ended], [], [])[0]:  # whoever asked is gone
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        with contextlib.suppress(OSError):
            asked.sendall(str(os.waitstatus_to_exitcode(status) % 256).encode())
        os._exit(0)
    asked.close()
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    wanted = json.loads(message)
    os.environ.clear()
    os.environ.update(wanted["environ"])
    os.chdir(wanted["folder"])
    return list(wanted["words"])


def become(words: Sequence[str]) -> None:
    """Python, started with these words: -c CODE, -m MODULE, FILE, or - for what stands on standard input."""
    first, *rest = words
    if first == "-m":
        sys.argv = rest
        sys.path[0] = str(Path.cwd())
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    elif first in ("-c", "-"):
        code, sys.argv = (rest[0], ["-c", *rest[1:]]) if first == "-c" else (sys.stdin.read(), ["-", *rest])
        exec(compile(code, "<block>", "exec"), {"__name__": "__main__"})
    else:
        sys.argv = [first, *rest]
        sys.path[0] = str(Path(first).absolute().parent)
        runpy.run_path(first, run_name="__main__")


def leave(words: Sequence[str]) -> NoReturn:
    """As `become`, and the end of the process, which need not take torch apart."""
    status: object = 0
    try:
        become(words)
    except SystemExit as left:
        status = left.code
    except BaseException:
        traceback.print_exc()
        status = 1
    if isinstance(status, str):
        print(status, file=sys.stderr)
    atexit._run_exitfuncs()
    leave_now(status if isinstance(status, int) else int(status is not None))


if __name__ == "__main__":
    leave(serve(sys.argv[1]))
