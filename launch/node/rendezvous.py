"""How the ranks of one attempt find each other: rank 0 says in a file of the run folder where it listens."""

from __future__ import annotations

import json
import math
import socket
import time
from dataclasses import replace

from golang.errors import RendezvousError
from golang.runfolder import files
from golang.runfolder.folder import RunFolder
from golang.world import World, listen

PATIENCE = 900.0  # seconds for rank 0 to speak: nodes start apart, and shared folders show new files late


def meet(run: RunFolder, world: World, patience: float = PATIENCE) -> World:
    """`world` with rank 0's address and port, on every rank; rank 0 listens there from now on. Raises ConfigError, and
    RendezvousError after `patience` seconds; ranks on this machine wait as long as rank 0 waits for its turn."""
    file = run.meeting_file(world.life)
    if world.rank == 0:
        address, server = ("127.0.0.1" if world.nodes == 1 else socket.gethostname()), listen()
        port = server.getsockname()[1]
        files.write(file, json.dumps({"address": address, "port": port}), durable=False)
        return replace(world, address=address, port=port, listening=server.detach())
    deadline = time.monotonic() + (math.inf if world.launcher == "submitit" else patience)
    while not (said := files.read_json(file)):
        if time.monotonic() > deadline:
            raise RendezvousError(
                f"rank {world.rank} waited {patience:g} s for rank 0 to write {file}; is {run.path} on a file system "
                "that all nodes share?"
            )
        files.look_again(file.parent)
        time.sleep(0.1)
    return replace(world, address=str(said["address"]), port=int(said["port"]))
