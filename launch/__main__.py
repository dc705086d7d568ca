"""`python -m launch COMMAND [SWEEP|RUN]`: looking after runs. None of it waits for torch."""

from __future__ import annotations

import argparse
import contextlib
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from golang.errors import GolangError
from golang.runfolder.folder import RunFolder
from launch.errors import without
from launch.monitor.logs import follow, log_file
from launch.monitor.status import TURN, as_json, render, standings, stop_here
from launch.queue import ask
from launch.sweep import ledger
from launch.sweep.find import find, find_one, find_sweep
from launch.text import plain

TARGET = "a folder, a sweep's name, a run's id or its beginning, or a Slurm job"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; the exit status."""
    options = _parser().parse_args(arguments)
    try:
        status: int = options.command(options)
    except GolangError as error:
        print(plain(str(error), keep="\n"), file=sys.stderr)
        return error.exit_status
    except ModuleNotFoundError as error:
        print(without(error), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return status


def show_status(options: argparse.Namespace) -> int:
    """A table of runs, or JSON."""
    lines, trouble = standings(find(options.target, options.runs_dir))
    if options.json:
        print(as_json(lines))
        if trouble:
            print(trouble, file=sys.stderr)
        return 0
    from rich.console import Console

    console = Console()
    console.print(render(lines, trouble, console.width))
    return 0


def watch_status(options: argparse.Namespace) -> int:
    """The same table, live."""
    from launch.monitor.watch import watch

    find(options.target, options.runs_dir)  # what isn't there is said at once
    with contextlib.suppress(KeyboardInterrupt):
        watch(lambda: standings(find(options.target, options.runs_dir)), options.every)
    return 0


def sync_runs(options: argparse.Namespace) -> int:
    """Each run to W&B; 1 if one could not be dealt with."""
    from launch.monitor.sync import sync

    status = 0
    for run, fate, well in sync(find(options.target, options.runs_dir), options.offline):
        print(plain(f"{run.path.name}: {fate}"), file=sys.stdout if well else sys.stderr, flush=True)
        status = status if well else 1
    return status


def show_logs(options: argparse.Namespace) -> int:
    """One rank's log."""
    run = find_one(options.target, options.runs_dir)
    if not options.follow:
        said = log_file(run, options.rank, options.attempt).read_text(errors="replace")
        sys.stdout.write(plain(said, keep="\n\t"))
        return 0
    folder = RunFolder(run.path)
    for text in follow(run, options.rank, ended=lambda: folder.done):
        sys.stdout.write(plain(text, keep="\n\t"))
        sys.stdout.flush()
    return 0


def cancel(options: argparse.Namespace) -> int:
    """Ends runs for good, after listing them and asking. Each saves first, as far as its time allows."""
    runs = find(options.target, options.runs_dir)
    answer = ask({run.job for run in runs if run.job})
    queued = [run for run in runs if run.job in answer.jobs and answer.jobs[run.job].active]
    stands = zip(runs, standings(runs)[0], strict=True)
    alive = [run for run, line in stands if line.state == "running" or line.last == TURN]
    here = [run for run in alive if run not in queued]
    if not queued and not here:
        print(f"nothing to cancel: no run of {options.target} is queued or running")
        return 0
    for run in [*queued, *here]:
        print(f"  {plain(run.path.name)}  {'job ' + run.job if run in queued else 'on this machine'}")
    if not options.yes:
        try:
            answered = input(f"cancel these {len(queued) + len(here)} runs? [y/N] ")
        except EOFError:
            answered = ""
        if answered.strip().lower() not in ("y", "yes"):
            print("nothing was cancelled; --yes answers in advance")
            return 1
    if queued:
        result = subprocess.run(["scancel", *(run.job for run in queued)], capture_output=True, text=True)
        if result.returncode != 0:
            print(f"scancel failed: {result.stderr.strip()}", file=sys.stderr)
            return 1
    elsewhere = [run for run in here if not stop_here(run)]
    cancelled = [*queued, *(run for run in here if run not in elsewhere)]
    for run in cancelled:
        ledger.append(run.sweep, "cancelled", run=run.identity, folder=run.path.name, job=run.job)
    print(f"cancelled {len(cancelled)}; the same command starts them again where they stood")
    for run in elsewhere:
        print(f"  {plain(run.path.name)} goes on: its process is not on this machine, or not yours to end",
              file=sys.stderr)  # fmt: skip
    return int(bool(elsewhere))


def resume(options: argparse.Namespace) -> int:
    """Types the sweep's last command again."""
    from launch.monitor import resume

    typed = resume.read(find_sweep(options.target, options.runs_dir), options.yes)
    print(typed.line, flush=True)
    status = typed.type_again()
    if status == 0 and (others := typed.left_out()):
        print(f"not asked for by that command, and left as they are: {plain(', '.join(others))}")
    return status


def examine(options: argparse.Namespace) -> int:
    """Findings about this machine, its Slurm and some runs; 1 if one of them is a failure."""
    from launch.doctor import examine as doctor
    from launch.doctor.finding import show

    runs = find(options.target, options.runs_dir) if options.target else []
    findings = doctor.examine(runs, options.runs_dir, options.partition, options.probe)
    return show(findings, options.json)


def write_report(options: argparse.Namespace) -> int:
    """Writes a sweep's report and says where it is."""
    from launch.report import page as report

    for path in report.write(find_sweep(options.target, options.runs_dir)):
        print(plain(str(path)))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m launch", description="Looks after the runs below runs/.")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--runs-dir", type=Path, default=Path("runs"), help="where the sweeps are (default: runs)")
    commands = parser.add_subparsers(required=True, metavar="status|watch|logs|cancel|resume|doctor|report|sync")
    status = commands.add_parser("status", parents=[common], help="how runs stand")
    status.add_argument("target", nargs="?", help=TARGET)
    status.add_argument("--json", action="store_true", help="for programs")
    status.set_defaults(command=show_status)
    watching = commands.add_parser("watch", parents=[common], help="how runs stand, live, until none is under way")
    watching.add_argument("target", nargs="?", help=TARGET)
    watching.add_argument("--every", type=_seconds, default=5.0, metavar="SECONDS", help="between looks (default: 5)")
    watching.set_defaults(command=watch_status)
    logs = commands.add_parser("logs", parents=[common], help="what a rank said")
    logs.add_argument("target", help=TARGET)
    logs.add_argument("--rank", type=int, default=0)
    logs.add_argument("--attempt", type=int, help="default: the newest")
    logs.add_argument("-f", "--follow", action="store_true", help="go on as it grows, into the next attempt too")
    logs.set_defaults(command=show_logs)
    cancelling = commands.add_parser("cancel", parents=[common], help="end runs for good")
    cancelling.add_argument("target", help=TARGET)
    cancelling.add_argument("--yes", action="store_true", help="don't ask")
    cancelling.set_defaults(command=cancel)
    resuming = commands.add_parser("resume", parents=[common], help="type a sweep's last command again")
    resuming.add_argument("target", nargs="?", metavar="SWEEP", help="default: the only one there is")
    resuming.add_argument("--yes", action="store_true", help="also a command that was not typed here, which is shown")
    resuming.set_defaults(command=resume)
    doctor = commands.add_parser("doctor", parents=[common], help="what here may harm runs, and what to do about it")
    doctor.add_argument("target", nargs="?", help=TARGET)
    doctor.add_argument("--partition", help="default: the runs' own, else Slurm's default")
    doctor.add_argument("--probe", action="store_true", help="send two small jobs (a minute) that try the signals")
    doctor.add_argument("--json", action="store_true", help="for programs")
    doctor.set_defaults(command=examine)
    reporting = commands.add_parser("report", parents=[common], help="a sweep's report: report.md and report.png")
    reporting.add_argument("target", nargs="?", metavar="SWEEP", help="default: the only one there is")
    reporting.set_defaults(command=write_report)
    syncing = commands.add_parser("sync", parents=[common], help="one clean W&B run of each, from its metrics.jsonl")
    syncing.add_argument("target", help=TARGET)
    syncing.add_argument("--offline", action="store_true", help="only write the folders for `wandb sync`")
    syncing.set_defaults(command=sync_runs)
    return parser


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} must be a number of seconds above 0")
    return value


if __name__ == "__main__":
    sys.exit(main())
