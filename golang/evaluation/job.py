"""An evaluation as a run of its own: a folder, attempts, checkpoints and stops like those of training."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from golang.config import Config, Evaluation
from golang.config.checks import TRANSFER
from golang.data.sets import open_labelled, open_val
from golang.engine import session
from golang.engine.listeners import Listener
from golang.engine.rank import Rank
from golang.engine.session import LastWords, Outcome, Session
from golang.errors import CheckpointError, ConfigError
from golang.evaluation import result
from golang.evaluation.pictures.found import draw_found
from golang.evaluation.protocols import knn
from golang.evaluation.protocols import numbers as protocols
from golang.evaluation.protocols.supervised import Supervised
from golang.evaluation.transfer.build import build_task
from golang.evaluation.transfer.finetune import FineTuning
from golang.evaluation.transfer.tasks import Task
from golang.method.trunk import Trunk, build_trunk
from golang.runfolder import checkpoints, evaluations, files, pinned
from golang.runfolder.folder import RunFolder
from golang.runfolder.results import RESULT
from golang.settled import identified
from golang.tracking.client import TrackingError, mode_of
from golang.tracking.publish import publish
from golang.weights import layouts, sealed

log = logging.getLogger(__name__)


def evaluate(
    config: Config, run_dir: Path, rank: Rank, listeners: Sequence[Listener] = (), results: Path | None = None
) -> Outcome:
    """Measures `evaluation.checkpoint` by `evaluation.protocol` on `data`, from where the folder says it stands to its
    end or to a stop; result.json is then in `results` (default: in the run's evaluation/ if it is of a run, else in
    this one's).

    Every rank calls it, settings checked and pinned; the errors are `session.attempt`'s, and CheckpointError for
    weights that are not whole.
    """
    where = results or evaluations.results_of(config, run_dir)
    if results is None:
        for folder in (where.parent, where):  # of a run that others may have made
            files.refuse_link(folder)
    outcome = session.attempt(config, run_dir, rank, listeners, lambda own: _measure(own, where))
    if outcome is Outcome.ALREADY:
        log.info("its result is %s", where / RESULT)
    return outcome


def evaluate_run(config: Config, run_dir: Path, rank: Rank, listeners: Sequence[Listener] = ()) -> Outcome:
    """Measures the end of a run by each protocol it asks for; what has a result is left alone."""
    for one in map(identified, evaluations.of_run(config, run_dir)):
        results = evaluations.results_of(one, run_dir)
        if evaluate(one, results, rank, listeners, results) is Outcome.STOPPED:
            return Outcome.STOPPED
    return Outcome.FINISHED


def track(run_dir: Path, config: Config) -> None:
    """Shows the results of a run, or of the run that an evaluation measured, on W&B too, as one of job type eval beside
    it: where these settings or that run's own want it tracked."""
    mode = mode_of(config) or mode_of(RunFolder(evaluations.measured(config, run_dir)).config())
    if mode is None:
        return
    try:
        log.info("W&B: %s", publish(run_dir, mode == "offline", job_type="eval"))
    except (ConfigError, TrackingError) as error:
        log.warning("W&B: %s", error)


def _measure(session: Session, results: Path) -> LastWords:
    """One attempt, on one rank; its last words keep the result."""
    config, rank = session.config, session.rank
    (name,) = config.evaluation.protocol
    dtype = torch.float64 if config.precision == "fp64" else torch.float32
    session.status("running")
    session.stage(("train", "val"))
    session.beat("reading the images")
    found_trunk = rank.control.on_first_rank(lambda: _trunk(config.evaluation)) or _trunk(config.evaluation)
    trunk, trunk_name, origin = found_trunk
    log.info("%s of %s, %d × %s", name, origin, rank.world.size, rank.device.type)
    task: Task | None = None
    one: FineTuning | Supervised | None = None
    if name in TRANSFER:

        def build() -> Task:
            return build_task(config, trunk, trunk_name, dtype)

        task = rank.control.on_first_rank(build) or build()
        one = FineTuning(task, session, results)
    else:
        rank.control.on_first_rank(lambda: open_val(config.data))  # it may have to write a generated set
        train, test = open_labelled(config.data)
        log.info("%d + %d images", len(train), len(test))
        if name != "knn":
            one = Supervised(protocols.asked(config), trunk, dtype, train, test, session)
    session.beat("measuring")
    if one is None:
        found = knn.evaluate(trunk.to(rank.device, dtype), train, test, session)
    else:
        if session.resume is not None:
            one.restore(sealed.read(session.resume))
        if rank.first:
            files.make_private(results)
        if rank.first and isinstance(one, Supervised):
            names = [one.train.name(i) for i in one.subset.tolist()]
            files.write(results / "subset.json", json.dumps({"seed": protocols.SEED, "images": names}))
        found = one.run()

    def keep() -> str:
        files.make_private(results)
        files.write(results / RESULT, json.dumps({"checkpoint": origin, **found}, indent=1) + "\n")
        session.facts["mAP"] = found["mAP"]
        log.info("%s: mAP %.2f; %s", name, found["mAP"], results / RESULT)
        result.show(name, found, sys.stdout)
        if task is not None:
            draw_found(task, results)
        return f"mAP {found['mAP']:.4f}"

    return keep


def _trunk(asked: Evaluation) -> tuple[Trunk, str, str]:
    """The trunk to measure, its name, and where it is from."""
    if not asked.run:
        return load_trunk(pinned.unchanged("checkpoint", asked.checkpoint or "", asked.checkpoint_sha256))
    parent = RunFolder(asked.checkpoint or "")
    if not parent.done:
        raise CheckpointError(f"{parent.path} is to be evaluated once it is finished, and it is not; train it")
    return load_trunk(checkpoints.find(parent.path))


def load_trunk(file: Path) -> tuple[Trunk, str, str]:
    """The trunk of a checkpoint of any layout, its name, and the file it is from. Raises CheckpointError when it is not
    whole."""
    found = layouts.read(file)
    trunk = build_trunk(found.trunk)
    if lacking := found.missing("trunk"):
        raise CheckpointError(f"{file} lacks {len(lacking)} tensors of a {found.trunk}, such as {lacking[0]}")
    own = {name.removeprefix("trunk."): value for name, value in found.tensors.items() if name.startswith("trunk.")}
    trunk.load_state_dict(own)
    return trunk, found.trunk, str(file)
