"""`python -m golang.tracking RUN_DIR MODE PID`: sends a run's metrics to W&B while the process PID trains it.

A process of its own, so that nothing W&B does or waits for can reach the training: it reads metrics.jsonl as anyone
may. The trainer says on standard input how the run ends, in one word of `golang.tracking.mirror.Word`; if it dies, the
end of the input says so. What a person should know goes to standard output, which the trainer puts in its log.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
import traceback
from typing import cast

from golang.logs import leave_now
from golang.runfolder.folder import RunFolder
from golang.runfolder.metrics import Tail
from golang.tracking.client import Client, Mode, NoKeyError, TrackingError, UnreachableError, open_client

POLL = 1.0  # seconds between looks at metrics.jsonl
PAUSES = (10.0, 60.0, 300.0, 600.0)  # seconds until W&B is tried again; the last one for good
ANSWER = 3.0  # seconds that the end of a run waits for a W&B that has not answered yet
START = 30.0  # and for its client to be ready where it writes to this disk alone
LINGER = 90.0  # seconds for the last points if the trainer, which would end the waiting, is gone
STATUS = {"finished": 0, "preempting": 75, "failed": 1, "gone": 1}


def main(run_dir: str, mode: str, process: str, word: str = "", lives: str = "3") -> int:
    """Mirrors until the trainer says how the run ends. `word` is what it has said already, and `lives` how often this
    process begins anew when W&B's helper was killed."""
    # Slurm signals every process of a job. The trainer answers for all; W&B's helper, a Go program, dies of it.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    with contextlib.suppress(OSError):
        os.nice(19 if lives == "3" else 0)
    ear = Ear(word, connected=lives != "3", patience=START if mode == "offline" else ANSWER)
    try:
        _mirror(RunFolder(run_dir), cast("Mode", mode), int(process), ear)
    except Exception as error:  # whatever W&B's client raises: the training goes on, and the details are in wandb.log
        traceback.print_exc()
        if int(lives) > 1:
            os.environ.pop("WANDB_SERVICE", None)  # how to reach the helper that is gone
            again = [run_dir, mode, process, ear.word, str(int(lives) - 1)]
            os.execv(sys.executable, [sys.executable, "-m", "golang.tracking", *again])
        _say(f"W&B's client failed ({error}); python -m launch sync {run_dir} sends the run later")
        return 1
    return 0


def _mirror(run: RunFolder, mode: Mode, process: int, ear: Ear) -> None:
    tail = Tail(run.metrics_file)
    client = _open(run, mode, process, ear)
    if client is None:
        return
    ear.connected = True
    client.take_over()
    word = ""
    while not word:
        word = ear.wait(POLL)
        client.log(tail.read())
        client.keep_mark()
    if word == "finished":
        client.summarise()
    client.finish(STATUS[word], preempting=word == "preempting")
    client.keep_mark(ended=True)


def _open(run: RunFolder, mode: Mode, process: int, ear: Ear) -> Client | None:
    """Tries until W&B answers; None if there is no use in it. Without a key the run is tracked offline."""
    tried = 0
    while True:
        try:
            client = open_client(run, mode, run.path, process=process)
        except NoKeyError as error:
            mode = "offline"
            _say(f"{error}, so it is tracked offline; after `wandb login`, python -m launch sync {run.path} sends it")
            continue
        except UnreachableError as error:
            if not tried:
                _say(f"{error}; training goes on without it, and it is tried again now and then")
            ear.impatient = True
            ear.wait(PAUSES[min(tried, len(PAUSES) - 1)])
            tried += 1
            continue
        except TrackingError as error:
            _say(f"{error}; this run goes on without it, and python -m launch sync {run.path} sends it later")
            return None
        if client.ticket.refused:
            _say(f"W&B would not take the id {client.ticket.refused} again; the run is {client.ticket.id} there")
        _say(f"W&B: {client.url}" if client.url else f"W&B, offline: {run.wandb}")
        return client


class Ear:
    """Hears the trainer's one word. If W&B has not answered by then, this process waits no longer than it is worth."""

    def __init__(self, word: str, connected: bool, patience: float) -> None:
        """`patience`: seconds that the end of a run waits for W&B's client to be ready."""
        self.word, self.connected, self.patience = word, connected, patience
        self.impatient = False  # W&B did not answer once: not worth waiting for even at a run's end
        self._heard = threading.Event()
        threading.Thread(target=self._listen, daemon=True).start()

    def wait(self, seconds: float) -> str:
        """The trainer's word, or "" if none came in that time."""
        self._heard.wait(seconds)
        return self.word

    def _listen(self) -> None:
        self.word = self.word or sys.stdin.readline().strip() or "gone"
        self._heard.set()
        if not self.connected and self.word == "finished" and not self.impatient:
            time.sleep(self.patience)
        if not self.connected:
            _say("W&B was not ready in time; python -m launch sync sends the run later")
            os._exit(0)
        time.sleep(LINGER)
        os._exit(1)


def _say(text: str) -> None:
    with contextlib.suppress(OSError):  # the trainer is gone
        print(text, flush=True)


if __name__ == "__main__":
    leave_now(main(*sys.argv[1:]))  # W&B's client would send its own telemetry first, to whom may not answer
