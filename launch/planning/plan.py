"""From a command line to runs: Hydra composes, the trainer's own classes check, every run gets its folder.

The only module that knows Hydra. It trains here (`cluster=none`) or hands a plan to launch.submission.submit.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Container, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import hydra
from hydra.core.config_loader import ConfigLoader
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict

from golang.config import Config, keys, nearest, refuse_secret
from golang.config.checks import check_sweep, check_world
from golang.config.identity import folder_name, label, run_id
from golang.errors import ConfigError, GolangError
from golang.runfolder.evaluations import of_checkpoint, of_run, result_name
from golang.sources import ROOT
from launch.planning.cells import Reader
from launch.planning.grid import Grid
from launch.settings import Cluster, Launch
from launch.submission.sbatch import check_name
from launch.sweep.folder import Plan, Planned, folders
from launch.text import plain

CONFIGS = ROOT / "configs"
CLUSTERS = ("slurm", "local")  # where a grid can go
log = logging.getLogger("golang")
_status = 0  # what the app returns: Hydra's task functions have no way to
_typed: tuple[str, ...] = ()  # the command as it was given


def app(arguments: Sequence[str]) -> int:
    """What `python run.py ARGUMENTS` does; the exit status."""
    global _status, _typed
    _status, _typed = 0, (sys.argv[0], *arguments)
    arguments = _for_hydra(arguments)
    try:
        overrides = check_overrides(arguments)
    except GolangError as error:
        return _fail(error)
    store = ConfigStore.instance()
    store.store("schema", Config().to_dict() | asdict(Launch()))
    for override in overrides:
        if override.key_or_group == "sweep" and override.value() not in _grids():
            # Any other name is one for the folder of runs; to Hydra it has to be a member of the group.
            name = str(override.value())
            store.store(name, {"sweep": name}, group="sweep", package="_global_")

    sys.argv[1:] = arguments

    @hydra.main(config_path=str(CONFIGS), config_name="config", version_base="1.3")
    def compose(settings: DictConfig) -> None:
        global _status
        _status = run(settings, list(HydraConfig.get().overrides.task))

    compose()
    return _status


def run(settings: DictConfig, overrides: Sequence[str]) -> int:
    """Freezes one composed run and trains it here; the exit status."""
    try:
        values = OmegaConf.to_container(settings, resolve=True)
        assert isinstance(values, dict)
        config, launch = Reader().read({str(key): value for key, value in values.items()})
        if launch.dry_run:
            raise ConfigError("dry_run=true shows what would be submitted, and cluster=none submits nothing; "
                              "choose cluster=slurm or cluster=local")  # fmt: skip
        from golang.processes.local import train_here

        runs = [config] if config.evaluation.checkpoint is None else of_checkpoint(config)
        if launch.run_dir is not None and len(runs) > 1:
            raise ConfigError(f"run_dir={launch.run_dir} is for one evaluation; leave it out for {len(runs)}")
        status = 0
        for one in runs:
            folder = run_folder(one, launch, overrides)
            status = status or train_here(one, folder, launch.cluster.tasks_per_node, launch.cluster.gpus_here)
        return status
    except GolangError as error:
        return _fail(error)


def launch_cells(loader: ConfigLoader, master: DictConfig, cells: Sequence[Sequence[str]]) -> list[str]:
    """Plans and submits the cells of a sweep, each given by its overrides; the ids of Slurm's jobs."""
    global _status
    logging.basicConfig(format="%(message)s")
    try:
        chosen = plan(loader, list(OmegaConf.to_container(master.hydra.overrides.hydra)), cells)  # type: ignore[arg-type]
        from launch.planning import show
        from launch.submission import submit

        if chosen.dry_run:
            show.plan(chosen, submit.script_of(chosen))
            return []
        fates = submit.submit(chosen)
        show.fates(chosen, fates)
        return [fate.job for fate in fates]
    except GolangError as error:
        _status = _fail(error)
    return []


def plan(loader: ConfigLoader, hydra_overrides: list[str], cells: Sequence[Sequence[str]]) -> Plan:
    """The runs of a sweep, checked. Raises ConfigError for the first setting that cannot work."""

    def compose(overrides: list[str]) -> DictConfig:
        config = loader.load_configuration("config", [*hydra_overrides, *overrides], run_mode=RunMode.RUN)
        HydraConfig.instance().set_config(config)
        with open_dict(config):
            del config["hydra"]
        return config

    check_name(Path.cwd())
    grid, reader = Grid(compose, _groups()), Reader()
    there: dict[Path, dict[str, Path]] = {}
    runs: dict[str, Planned] = {}
    shared = set.intersection(*map(set, cells)) if cells else set()
    for cell in cells:
        config, launch = reader.read(grid.settings(cell))
        if launch.run_dir is not None:
            raise ConfigError(
                f"run_dir={launch.run_dir} is for one run here; with a cluster, runs_dir={launch.runs_dir} and "
                f"sweep={config.sweep} say where the runs go"
            )
        if config.evaluation.checkpoint is None:
            check_world(config, launch.cluster.nodes * launch.cluster.tasks)
        sweep = Path(launch.runs_dir).expanduser().absolute() / config.sweep
        if sweep not in there:
            there[sweep] = folders(sweep)
        for run in _runs_of(config, tuple(cell), shared, launch.cluster, sweep, there[sweep]):
            runs.setdefault(run.id, run)
    if len(there) != 1:
        names = ", ".join(path.name for path in there)
        raise ConfigError(f"a command fills one sweep, this one would fill {names}; add sweep=NAME")
    return Plan(next(iter(there)), _typed, tuple(runs.values()), launch.code, launch.dry_run)


def _runs_of(
    config: Config,
    overrides: tuple[str, ...],
    shared: Container[str],
    cluster: Cluster,
    sweep: Path,
    there: dict[str, Path],
) -> Iterator[Planned]:
    """What one cell asks for: a training and the evaluations of its end, each a run of its own; or evaluations.
    A folder's name is cut where it is long, so what all cells share comes last in it."""

    def planned(one: Config, words: tuple[str, ...], name: str, after: str = "") -> Planned:
        identity = run_id(one)
        return Planned(identity, one, words, cluster, there.get(identity) or sweep / f"{name}-{identity}", after)

    plain = tuple(word for word in overrides if word.partition("=")[0] not in ("evaluation", "evaluation.protocol"))
    if config.evaluation.checkpoint is not None:
        for one in of_checkpoint(config):
            yield planned(one, (*plain, f"evaluation={one.evaluation.protocol[0]}"), _named(one))
        return
    words = sorted(overrides, key=lambda word: word in shared)
    name = label([word for word in words if not _beside(word)])
    if not config.evaluation.protocol:
        yield planned(config, overrides, name)
        return
    training = planned(replace(config, evaluation=replace(config.evaluation, protocol=())), plain, name)
    yield training
    for one in of_run(config, training.folder):
        protocol = one.evaluation.protocol[0]
        yield planned(one, (*plain, f"evaluation={protocol}"), folder_name([result_name(one), name]), training.id)


def _named(config: Config) -> str:
    """A folder's name for the evaluation of a checkpoint."""
    file = Path(config.evaluation.checkpoint or "")
    whose = [file.parents[1].name] if file.parent.name == "checkpoints" else []
    return folder_name([result_name(config), *whose, file.stem])


def run_folder(config: Config, launch: Launch, overrides: Sequence[str]) -> Path:
    """Where the run lives: run_dir if given, else the folder of its id in the sweep, new or there already."""
    if launch.run_dir is not None:
        return Path(launch.run_dir)
    sweep = Path(launch.runs_dir) / config.sweep
    identity = run_id(config)
    name = label(overrides) if config.evaluation.checkpoint is None else _named(config)
    return folders(sweep).get(identity) or sweep / f"{name}-{identity}"


def check_overrides(arguments: Sequence[str]) -> list[Override]:
    """The overrides. Raises ConfigError for a key that doesn't exist (naming the nearest) and for a grid without a
    cluster."""
    words = [argument for argument in arguments if "=" in argument and not argument.startswith("-")]
    parser, overrides = OverridesParser.create(), []
    for word in words:
        try:
            overrides.append(parser.parse_override(word))
        except HydraException as error:
            reason = str(error).partition("\n")[0]
            raise ConfigError(f"can't read {word!r}: {reason}; quote odd text twice, as in \"key='a[b'\"") from error
    groups = _groups()
    known = [*keys(Config), *keys(Launch), *sorted(groups)]
    submits = any(o.key_or_group == "cluster" and o.value() in CLUSTERS for o in overrides)
    for override in overrides:
        key = override.key_or_group
        if key.split(".")[0].split("/")[0] == "hydra" or key.startswith(("cluster.env.", "cluster.extra.")):
            continue
        if key not in known:
            refuse_secret(key)
            raise ConfigError(f"unknown setting {override.input_line}{nearest(key, known)}")
        value = override.value()
        if key == "sweep" and isinstance(value, str):
            check_sweep(value)  # before Hydra looks for a file of that name
        if key in groups and key != "sweep" and isinstance(value, str):
            there = sorted(path.stem for path in (CONFIGS / key).glob("*.yaml"))
            if value not in there:
                raise ConfigError(f"{override.input_line}: there is no such {key}; choose one of {', '.join(there)}")
        if not submits and (override.is_sweep_override() or (key == "sweep" and value in _grids())):
            raise ConfigError(
                f"{override.input_line} is a grid of several runs: say where they go with cluster=slurm or "
                "cluster=local, or give one value (quote one that contains a comma)"
            )
        if override.is_sweep_override() and key in ("cluster", "sweep", "runs_dir", "dry_run", "code"):
            raise ConfigError(f"{override.input_line}: {key} is the same for all runs of a command; give one value")
    return overrides


def _for_hydra(words: Sequence[str]) -> list[str]:
    """Words in Hydra's grammar where ours is another.

    Slurm's own notation: n[1-4,7] is text, and so are node lists with commas. Names below env and extra are in no
    schema, which Hydra wants to be told. evaluation=[a,b] is a list of protocols, where Hydra would have the last of
    two files win; checkpoint=PATH is what is evaluated, in no experiment but one of evaluations. A run's folder is
    named by its settings, with = and commas.
    """
    found = []
    for word in words:
        key, _, value = word.partition("=")
        if key in _WEIGHTS and _is_one_name(value):
            value = f"'{value}'"
            word = f"{key}={value}"
        if key.startswith(("cluster.env", "cluster.extra")):
            found.append(f"++{word}")
        elif key in _TEXTS and value and value[0] not in "'\"[" and value != "null":
            found.append(f"{key}='{value}'")
        elif key == "evaluation" and value.startswith("[") and value.endswith("]"):
            names = [name.strip() for name in value[1:-1].split(",") if name.strip()]
            whole = "probe" if "probe" in names else names[0] if names else "none"
            listed = ",".join(name for name in names if name != "probe")
            found += [f"evaluation={whole}", f"evaluation.protocol=[{listed}]"]
        elif key == "checkpoint":
            found.append(f"evaluation.checkpoint={value}")
            if not any(other.startswith(("experiment=", "data=")) for other in words):
                found.append("experiment=evaluate")
        else:
            found.append(word)
    return found


_WEIGHTS = ("checkpoint", "evaluation.checkpoint", "model.init")


def _is_one_name(value: str) -> bool:
    """Whether a word names one file, folder or run that Hydra's grammar would not take as it is."""
    odd = "=" in value or ("," in value and Path(value).expanduser().exists())
    return odd and not set("'\"") & set(value)


_TEXTS = {f"cluster.{name}" for name in ("nodelist", "exclude", "gres", "constraint", "dependency")}


def _groups() -> set[str]:
    return {str(path.relative_to(CONFIGS)) for path in CONFIGS.rglob("*") if path.is_dir()}


def _grids() -> set[str]:
    return {path.stem for path in (CONFIGS / "sweep").glob("*.yaml")}


def _beside(override: str) -> bool:
    """Whether an override says nothing of what the run is, so that the folder's name leaves it out."""
    return override.lstrip("+~").partition("=")[0] == "code"


def _fail(error: GolangError) -> int:
    print(plain(str(error), keep="\n"))
    return error.exit_status


def main() -> None:
    sys.exit(app(sys.argv[1:]))
