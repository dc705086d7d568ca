"""A /dev/shm that is too small for what loader processes hand over, as containers have it: said at the start, and the
end of the run instead of a wait for ever."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from golang.config import Augment, Toy
from golang.data.loader import shared_memory
from golang.data.toy.write import write
from tests.cli.command import ROOT, command, run
from tests.unit.test_data import save

IMAGES, WORKERS = 4, 2
MOUNT = 'mount -t tmpfs -o "size=$1" tmpfs /dev/shm && shift && exec "$@"'
SLOW = """
import os, sys, time
from pathlib import Path
from golang.config import Augment
from golang.data.crops.multicrop import MultiCrop
from golang.data.loader import close, train_loader
from golang.data.readers.folder import Folder
from golang.data.sampler import StepSampler
from golang.engine.causes import classify

dataset = MultiCrop(Folder().read(Path(sys.argv[1])), Augment(), 0)
batches = iter(train_loader(dataset, StepSampler(12, 4, 6, 0), 2, pin_memory=False))
try:
    for _ in range(6):
        held = next(batches)
        time.sleep(0.5)  # the workers get as far ahead as they may
    print("through")
except (OSError, RuntimeError) as error:
    cause = classify(error)
    print(cause.word, cause.retry, cause.remedy)
close(batches)
"""


def in_a_room(size: int, *words: str | Path) -> list[str]:
    """The words of a command whose /dev/shm has that many bytes."""
    return ["unshare", "--mount", "sh", "-c", MOUNT, "sh", str(size), *map(str, words)]


pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux")
    or subprocess.run(in_a_room(1 << 20, "true"), capture_output=True, check=False).returncode != 0,
    reason="a mount of one's own, which needs root",
)


@pytest.mark.parametrize(("spare", "said"), [(1 << 18, "through"), (-(1 << 20), "out of memory False /dev/shm")])
def test_the_room_that_is_asked_for_is_what_it_takes(spare: int, said: str, tmp_path: Path) -> None:
    for n in range(12):
        save(tmp_path / f"{n:02d}.jpg", n)
    room = shared_memory(Augment(), IMAGES, WORKERS) + spare
    done = subprocess.run(
        in_a_room(room, sys.executable, "-c", SLOW, tmp_path), env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.stdout.startswith(said), done.stdout + done.stderr


def test_a_run_ends_as_out_of_memory_and_is_not_tried_again(tmp_path: Path) -> None:
    root = write(tmp_path / "toy", Toy(classes=5, size=32, train=44, val=4, seed=1), workers=1)
    published = ["augment.large_size=224", "augment.small_size=96", "augment.small_count=6", "hang_seconds=20"]
    typed = in_a_room(2 << 20, sys.executable, *command(root, *published, "optim.epochs=2", "run_dir=here"))
    code, output = run(tmp_path, ["-c", "import os, sys; os.execvp(sys.argv[1], sys.argv[1:])", *typed])
    assert code == 1, output
    assert "/dev/shm has 2 MB free, and the batches of data.workers=1 fill up to 11 MB" in output
    assert "docker run --shm-size=128m" in output
    cause = json.loads((tmp_path / "here/attempts/00/cause.json").read_text())
    assert (cause["cause"], cause["retry"]) == ("out of memory", False) and "--shm-size" in cause["message"]
