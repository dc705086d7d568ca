"""Newer Slurms than this machine's: `python -m tests.slurm.versions pytest tests/slurm` runs that module on each.

They come in root folders of Debian releases, built by debootstrap (three minutes and 600 MB each) and kept in
$GOLANG_SLURM_ROOTS, by itself ~/.cache/golang-slurm. What runs in one sees the programs of that release, and this
machine's interpreter, environment, checkout, /proc, /sys, /dev and /tmp.
"""

from __future__ import annotations

import argparse
import functools
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .processes import ClusterError

SUITES = ("trixie", "forky")  # Slurm 24.11 and 26.05
_MIRROR = "http://deb.debian.org/debian"
_SCRIPT = "/usr/share/debootstrap/scripts/sid"  # serves each of them; an older debootstrap has none for the newest
_PACKAGES = (
    "slurmctld,slurmd,slurm-client,munge,slurmdbd,mariadb-server-core,mariadb-client-core,python3,git,iproute2,procps"
)
_CHECKOUT = Path(__file__).resolve().parents[2]
# Runs in a mount namespace of its own. $1 is the root folder, $2 the working folder, then what is bound into the root
# up to "--", then the command. After pivot_root, unlike after chroot, users may make namespaces.
_ENTER = """
root=$1 place=$2; shift 2
mount --bind "$root" "$root"
while [ "$1" != -- ]; do
  if [ -d "$1" ]; then mkdir -p "$root$1"; fi
  mount --rbind "$1" "$root$1"; shift
done
shift
cd "$root"; pivot_root . .; umount --lazy .
cd "$place"; exec "$@"
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a module in every root folder; 0 if it ended with 0 in each, else 1."""
    parser = argparse.ArgumentParser(prog="python -m tests.slurm.versions", description=__doc__)
    parser.add_argument("--only", choices=SUITES, help="in that release's root folder alone")
    parser.add_argument(
        "--together", action="store_true", help="at the same time; each says what it did once it is done"
    )
    parser.add_argument("module", help="as python -m takes it")
    parser.add_argument("words", nargs=argparse.REMAINDER, metavar="…", help="its arguments")
    arguments = parser.parse_args(argv)
    command = [arguments.module, *arguments.words]
    suites = [suite for suite in SUITES if arguments.only in (None, suite)]
    try:
        with ThreadPoolExecutor(len(suites) if arguments.together else 1) as pool:
            run = functools.partial(_python, words=command, aside=arguments.together)
            ended = dict(zip(suites, pool.map(run, suites), strict=True))
    except ClusterError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for suite, status in ended.items():
        print(f"{suite}: {' '.join(command)}: exit {status}")
    return int(any(ended.values()))


def _python(suite: str, words: Sequence[str], aside: bool) -> int:
    root = root_folder(suite)
    version = subprocess.run(entered(root, ["slurmctld", "-V"]), capture_output=True, text=True, check=True).stdout
    title, command = f"-- {version.strip()} ({suite}, {root})", entered(root, [sys.executable, "-m", *words])
    if not aside:
        print(title, flush=True)
        return subprocess.run(command, check=False).returncode
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    print(f"{title}\n{done.stdout}", flush=True)
    return done.returncode


def root_folder(suite: str) -> Path:
    """The root folder of a release, built if it is not there. `ClusterError` where it can't be built or entered."""
    if os.getuid() != 0:
        raise ClusterError(f"only root enters another root folder, not uid {os.getuid()}. Remedy: run it as root.")
    if Path(sys.base_prefix) == Path("/usr"):
        raise ClusterError(
            f"{sys.executable} belongs to this machine's /usr, which the root folder replaces. Remedy: make a new "
            "environment with an interpreter of its own folder (make clean, make setup PYTHON=…)."
        )
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "golang-slurm"
    root = Path(os.environ.get("GOLANG_SLURM_ROOTS") or cache) / suite
    if not root.is_dir():
        _build(suite, root)
    return root


def _build(suite: str, root: Path) -> None:
    if shutil.which("debootstrap") is None:
        raise ClusterError("no debootstrap on this machine: apt-get install -y --no-install-recommends debootstrap")
    root.parent.mkdir(parents=True, exist_ok=True)
    begun = Path(tempfile.mkdtemp(prefix=f"{suite}-", dir=root.parent))
    begun.chmod(0o755)  # Debian's own users look into it
    log = root.with_suffix(".log")
    print(f"building {root}, some three minutes (log in {log})", flush=True)
    command = ["debootstrap", "--variant=minbase", f"--include={_PACKAGES}", suite, str(begun), _MIRROR, _SCRIPT]
    with log.open("w") as output:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, check=False)
    if done.returncode:
        shutil.rmtree(begun)
        raise ClusterError(f"debootstrap {suite} ended with {done.returncode}; what it said is in {log}")
    begun.rename(root)


def entered(root: Path, command: Sequence[str]) -> list[str]:
    """The command that runs `command` with `root` as its root folder, in the checkout."""
    ask = ["git", "rev-parse", "--path-format=absolute", "--git-common-dir"]  # elsewhere, for a worktree
    git = subprocess.run(ask, cwd=_CHECKOUT, capture_output=True, text=True).stdout.strip()
    shared = [Path("/proc"), Path("/sys"), Path("/dev"), Path("/etc/hosts"), Path(tempfile.gettempdir()).resolve()]
    shared += [_CHECKOUT, Path(sys.prefix), Path(sys.base_prefix), *([Path(git)] if git else [])]
    outer = [path for path in shared if not any(other in path.parents for other in shared)]
    names = [str(path) for path in dict.fromkeys(outer)]
    return ["unshare", "--mount", "--", "sh", "-ec", _ENTER, "sh", str(root), str(_CHECKOUT), *names, "--", *command]


if __name__ == "__main__":
    sys.exit(main())
