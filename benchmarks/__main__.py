"""Every benchmark of speed, one after the other, in processes of their own: `python -m benchmarks`.

On a GPU where there is one, training with 16, 8 and 4 cores besides (as far as the machine has them); else on the
processor, in some minutes. Prints what each prints, then one table, and last one line of JSON with all results. Exits 1
if one failed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys

import torch

from benchmarks import timing

CORES = (16, 8, 4)  # for one GPU
COLUMNS = {
    "ratio": "× textbook",
    "limit_share": "share of the limit",
    "images_per_second": "images/s",
    "launches": "launches",
    "launches_textbook": "the textbook's",
    "syncs": "host syncs",
    "idle_share": "idle",
    "peak_memory_gib": "GiB",
}


def commands(only: list[str], gpu: bool) -> list[list[str]]:
    """The modules to run, with their arguments."""
    names = only or ["data", "alignment", "objective", "optim", "norm", "step", "train"]
    found = [[name] for name in names if name != "train" or not gpu]
    if "train" in names and gpu:
        cores = timing.cores()
        found += [["train", "--cores", str(number)] for number in CORES if number <= cores] or [["train"]]
    return found


def run(command: list[str]) -> dict[str, object]:
    """A benchmark's result, from the last line it prints; what it prints before is passed on."""
    process = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{command[0]}", *command[1:]], capture_output=True, text=True, check=False
    )
    lines = process.stdout.strip().splitlines()
    if process.returncode != 0 or not lines:
        said = (process.stderr or process.stdout).strip().splitlines()
        return {"bench": command[0], "failed": said[-1] if said else f"exit status {process.returncode}"}
    print("\n".join(lines[:-1]), end="\n\n", flush=True)
    result: dict[str, object] = json.loads(lines[-1])
    return result


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("only", nargs="*", help="these alone (all)")
    options = parser.parse_args()
    device = timing.device()
    results = [run(command) for command in commands(options.only, device.type == "cuda")]
    rows = [
        (f"{result['bench']}, {result['cores']} cores" if "cores" in result else result["bench"],
         *(result.get(key, "") for key in COLUMNS)) for result in results if "failed" not in result
    ]  # fmt: skip
    title = f"{timing.device_name(device)}, torch {torch.__version__}"
    timing.table(title, ["benchmark", *COLUMNS.values()], rows)
    for result in results:
        if "failed" in result:
            print(f"{result['bench']} failed: {result['failed']}")
    print(json.dumps({"benchmarks": results, "device": timing.device_name(device)}))
    return int(any("failed" in result for result in results))


if __name__ == "__main__":
    sys.exit(main())
