"""`python -m launch COMMAND [SWEEP|RUN]`: looking after runs. None of it waits for torch."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from golang.errors import GolangError
from golang.runfolder.folder import RunFolder
from launch.errors import without
from launch.monitor import brief, cancel, logs, order, resume, status
from launch.sweep.find import find, find_one, find_sweep
from launch.text import plain

TARGET = "a folder, a sweep's name, a run's id or its beginning, or a Slurm job"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; the exit status."""
    options = _parser().parse_args(arguments)
    try:
        status = int(options.command(options))
        sys.stdout.flush()
        return status
    except BrokenPipeError:  # whoever reads has enough, as in `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except GolangError as error:
        print(plain(str(error), keep="\n"), file=sys.stderr)
        return error.exit_status
    except ModuleNotFoundError as error:
        print(without(error), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def show_status(options: argparse.Namespace) -> int:
    """A table of runs, the brief of a large one, or JSON."""
    lines, trouble = status.standings(find(options.target, options.runs_dir))
    if options.state:
        lines = order.of_states(lines, options.state)
    lines = order.by(lines, options.sort or "name")
    if not options.json:
        brief.show(lines, trouble, whole=bool(options.all or options.state or options.sort))
    else:
        print(status.as_json(lines))
        print(trouble, end="\n" if trouble else "", file=sys.stderr)
    return 0


def watch_status(options: argparse.Namespace) -> int:
    """The same table, live, where what Slurm held after a requeue is released; or the sweep's page."""
    if options.web:
        from launch.live.serve import serve

        with contextlib.suppress(KeyboardInterrupt):
            serve(find_sweep(options.target, options.runs_dir), options.port or 0, options.every)
        return 0
    if options.port is not None:
        raise GolangError("--port is where --web serves its page: add --web, or leave the port out")
    from launch.monitor.watch import watch

    folders: dict[tuple[str, str], Path] = {}

    def look() -> tuple[list[status.Standing], str]:
        runs = find(options.target, options.runs_dir)
        folders.update({(run.sweep.name, run.path.name): run.path for run in runs})
        return status.standings(runs, releasing=True)

    with contextlib.suppress(KeyboardInterrupt):
        watch(look, options.every, lambda line: folders[line.sweep, line.run])
    return 0


def sync_runs(options: argparse.Namespace) -> int:
    """Each run to W&B; 1 if one could not be dealt with."""
    from launch.monitor.sync import sync

    return sync(find(options.target, options.runs_dir), options.offline)


def show_logs(options: argparse.Namespace) -> int:
    """One rank's log."""
    run = find_one(options.target, options.runs_dir)
    folder = RunFolder(run.path)
    whole = [] if options.follow else [logs.log_file(run, options.rank, options.attempt).read_text(errors="replace")]
    for text in whole or logs.follow(run, options.rank, ended=lambda: folder.done):
        sys.stdout.write(plain(text, keep="\n\t"))
        sys.stdout.flush()
    return 0


def cancel_runs(options: argparse.Namespace) -> int:
    """Ends runs for good, after listing them and asking."""
    return cancel.cancel(options.target, find(options.target, options.runs_dir), options.yes)


def resume_sweep(options: argparse.Namespace) -> int:
    """Types the sweep's last command again."""
    typed = resume.read(find_sweep(options.target, options.runs_dir), options.yes)
    print(typed.line, flush=True)
    code = typed.type_again()
    if code == 0 and (others := typed.left_out()):
        print(f"not asked for by that command, and left as they are: {plain(', '.join(others))}")
    return code


def examine(options: argparse.Namespace) -> int:
    """Findings about this machine, its Slurm and some runs; 1 if one of them is a failure."""
    from launch.doctor import examine as doctor
    from launch.doctor.finding import show

    runs = find(options.target, options.runs_dir) if options.target else []
    findings = doctor.examine(runs, options.runs_dir, options.partition, options.probe)
    return show(findings, options.json)


def write_report(options: argparse.Namespace) -> int:
    """Writes a sweep's report and says where it is."""
    from launch.report.page import write

    print(*(plain(str(path)) for path in write(find_sweep(options.target, options.runs_dir))), sep="\n")
    return 0


def export_sweep(options: argparse.Namespace) -> int:
    """A sweep's numbers for another tool; says where they are."""
    from launch.export.export import export

    print(plain(export(find_sweep(options.target, options.runs_dir), options.to, options.into), keep="\n"))
    return 0


def compare_runs(options: argparse.Namespace) -> int:
    """What differs between two runs."""
    from launch.report.beside import show
    from launch.report.compare import compared

    show(compared(*(find_one(target, options.runs_dir).path for target in (options.target, options.other))))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m launch", description="Looks after the runs below runs/.")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--runs-dir", type=Path, default=Path("runs"), help="where the sweeps are (default: runs)")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(
        name: str, call: Callable[[argparse.Namespace], int], help: str, needed: bool = False, sweep: bool = False
    ) -> Callable[..., argparse.Action]:
        """A command's name and target; returns what adds its options."""
        own = commands.add_parser(name, parents=[common], help=help)
        of = {"metavar": "SWEEP", "help": "default: the only one there is"} if sweep else {"help": TARGET}
        own.add_argument("target", **({} if needed else {"nargs": "?"}), **of)  # type: ignore[arg-type]
        own.set_defaults(command=call)
        return own.add_argument

    add = command("status", show_status, "how runs stand")
    add("--all", action="store_true", help="each run, also where that is more than a screen")
    add("--state", action="append", help="each run in it (failed, waiting …); again for another state")
    add("--sort", choices=order.KEYS, help="each run, in that order")
    add("--json", action="store_true", help="for programs: each run, with all that is known")
    add = command("watch", watch_status, "how runs stand, live, until none is under way")
    add("--every", type=_seconds, default=5.0, metavar="SECONDS", help="between looks (default: 5)")
    add("--web", action="store_true", help="the sweep's page instead, on this machine alone, until Ctrl-C")
    add("--port", type=_port, help="of --web (default: a free one)")
    add = command("logs", show_logs, "what a rank said", needed=True)
    add("--rank", type=int, default=0)
    add("--attempt", type=int, help="default: the newest")
    add("-f", "--follow", action="store_true", help="go on as it grows, into the next attempt too")
    add = command("cancel", cancel_runs, "end runs for good", needed=True)
    add("--yes", action="store_true", help="don't ask")
    add = command("resume", resume_sweep, "type a sweep's last command again", sweep=True)
    add("--yes", action="store_true", help="also a command that was not typed here, which is shown")
    add = command("doctor", examine, "what here may harm runs, and what to do about it")
    add("--partition", help="default: the runs' own, else Slurm's default")
    add("--probe", action="store_true", help="send two small jobs (a minute) that try signals, files and locks")
    add("--json", action="store_true", help="for programs")
    command("report", write_report, "a sweep's report: index.html, report.md and report.png", sweep=True)
    add = command("compare", compare_runs, "what differs between two runs: settings, curves, classes", needed=True)
    add("other", metavar="target", help="the other run")
    add = command("export", export_sweep, "a sweep's numbers for another tool", sweep=True)
    add("--to", required=True, choices=("csv", "parquet", "tensorboard", "mlflow"))
    add("--into", metavar="PLACE", help="a folder, or MLflow's address (default: export/ in the sweep's folder)")
    add = command("sync", sync_runs, "one clean W&B run of each, from its metrics.jsonl", needed=True)
    add("--offline", action="store_true", help="only write the folders for `wandb sync`")
    return parser


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} must be a number of seconds above 0")
    return value


def _port(text: str) -> int:
    if not (text.isdecimal() and 0 < int(text) < 65536):
        raise argparse.ArgumentTypeError(f"{text} must be a number from 1 to 65535")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
