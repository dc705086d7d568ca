"""`python`, `golang` and `torchrun` of a block: the same words and what makes a training small (`small`), in a process
that has imported torch already (`warm`). Started as `shell.py PROGRAM WORD …`, without site-packages."""

from __future__ import annotations

import json
import os
import re
import socket
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import small

ROOT = Path(__file__).parents[2]
GOLANG = "import sys; sys.argv[0] = 'golang'; from launch.commands import main; sys.exit(main())"
LIBRARY = "from tests.docs.small import library; library()\n"
OF_MODULES = {
    "evaluate": "golang.evaluation",
    "data": "golang.data",
    "memory": "golang.memory",
}  # `golang NAME`, whose words are small.module's


def python(typed: list[str]) -> list[str]:
    """What Python itself is given for what is typed behind `python`."""
    first, *rest = typed if typed and typed[0] != "-u" else typed[1:] or ["-"]
    if first == "run.py":
        return [str(ROOT / "run.py"), *small.training(rest)]
    if first == "-m":
        return ["-m", rest[0], *small.module(rest[0], rest[1:])]
    if first == "-":
        return ["-c", LIBRARY + sys.stdin.read(), *rest]
    return [first, *rest]


def golang(typed: list[str]) -> list[str]:
    """The same for `golang`."""
    command, *rest = typed or ["--help"]
    if command == "train":
        rest = small.training(rest)
    elif command in OF_MODULES:
        rest = small.module(OF_MODULES[command], rest)
    return ["-c", GOLANG, command, *rest]


def torchrun(typed: list[str]) -> list[str]:
    """The same for `torchrun`, whose own processes are started by `python` or `golang` again."""
    return ["-m", "torch.distributed.run", *typed]


def here(word: str) -> str:
    """A word whose folder is at the top of the disk, as a cluster's are; it lies below the reader's own."""
    return re.sub(r"(^|[=,])/(datasets|scratch)\b", rf"\1{os.environ['READER']}/\2", word)


def main() -> int:
    words = {"python": python, "golang": golang, "torchrun": torchrun}[sys.argv[1]](
        [here(word) for word in sys.argv[2:]]
    )
    wanted = {"words": words, "folder": str(Path.cwd()), "environ": dict(os.environ)}
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(os.environ["WARM_PYTHON"])
        message = json.dumps(wanted).encode() + b"\n"
        sent = socket.send_fds(server, [message], [0, 1, 2])
        server.sendall(message[sent:])
        return int(server.recv(16) or b"1")


if __name__ == "__main__":
    sys.exit(main())
