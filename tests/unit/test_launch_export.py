"""`launch export`, read back with the clients that people have."""

from __future__ import annotations

import csv
import json
import math
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from golang.config import Config
from golang.errors import ConfigError
from golang.runfolder.folder import RunFolder
from launch.__main__ import main
from launch.export.columns import Columns
from launch.export.export import export
from launch.export.source import ExportError
from tests.unit.test_report import add_run, rewrite, stamp

HOSTILE = "=cmd|' /C calc'!A0"


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """Two runs and a damaged one; what stands in the first one's settings would be worth something to others."""
    sweep = tmp_path / "runs/grid"
    first = add_run(sweep, {"seed": 1}, 30.0)
    add_run(sweep, {"seed": 2, "optim.base_lr": 0.5})
    settings = json.loads(first.config_file.read_text())
    settings["tracking"] |= {"wandb_key": "hunter2", "notes": "https://me:hunter2@host", "later": HOSTILE}
    first.config_file.write_text(json.dumps(settings))
    rewrite(first.path / "evaluation/linear.json", per_class={"cat": 20.0, HOSTILE: 40.0, "dog": None})
    damaged = RunFolder.create(sweep / "damaged-3c3c3c3c", Config(seed=3))
    damaged.config_file.write_text("{")
    damaged.metrics_file.write_text('{"step": 10, "loss": "low", "../up": 1.0, "huge": 1e400, "time": 7}\n{"st')
    return sweep


def went_on(sweep: Path) -> RunFolder:
    """The first run was cut back to step 20, took other steps, and went on to step 50."""
    run = next(RunFolder(path.parent) for path in sweep.glob("*/evaluation"))
    values = {10: 2.0, 20: 2.0, 30: 1.25, 40: math.nan, 50: 0.75}
    lines = [{"step": step, "loss": loss, "attempt": 2, "time": stamp(step)} for step, loss in values.items()]
    run.metrics_file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return run


def numbers(points: dict[int, list[float]]) -> dict[int, float]:
    """By step, each once; NaN as −1, which is equal to itself."""
    assert all(len(values) == 1 for values in points.values()), points
    return {step: -1.0 if math.isnan(value) else value for step, (value,) in sorted(points.items())}


BEFORE, AFTER = {10: 2.0, 20: 2.0, 30: 2.0, 40: 2.0}, {10: 2.0, 20: 2.0, 30: 1.25, 40: -1.0, 50: 0.75}


def no_secret_below(folder: Path) -> None:
    assert not [path for path in folder.rglob("*") if path.is_file() and b"hunter2" in path.read_bytes()]
    assert folder.stat().st_mode & 0o077 == 0


def test_csv(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(sweep), "--to", "csv"]) == 0
    place = sweep / "export/csv"
    assert capsys.readouterr().out.split() == [str(place / f"{name}.csv") for name in ("runs", "metrics", "classes")]
    runs, _, classes = (list(csv.DictReader((place / f"{name}.csv").open())) for name in ("runs", "metrics", "classes"))
    assert {(row["seed"], row["score.linear"], row["optim.base_lr"]) for row in runs} == {
        ("1", "30.0", "0.6"),
        ("2", "", "0.5"),
        ("", "", ""),
    }
    assert {row["tracking.later"] for row in runs} == {f"'{HOSTILE}", ""}, "no spreadsheet computes it"
    assert [(row["class"], row["points"]) for row in classes] == [("cat", "20.0"), (f"'{HOSTILE}", "40.0")]
    run = went_on(sweep)
    export(sweep, "csv")
    points = defaultdict(list)
    for row in csv.DictReader((place / "metrics.csv").open()):
        if row["run"] == run.path.name:
            points[int(row["step"])].append(float(row["loss"]))
    assert numbers(points) == AFTER
    no_secret_below(place)


def test_parquet(sweep: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    run = went_on(sweep)
    for _ in range(2):
        export(sweep, "parquet")
    place = sweep / "export/parquet"
    runs = parquet.read_table(place / "runs.parquet").to_pylist()
    assert {row["seed"]: row["score.linear"] for row in runs} == {1: 30.0, 2: None, None: None}
    assert {row["augment.large_scale"] for row in runs} == {"[0.14, 1.0]", None}
    schema = parquet.read_schema(place / "metrics.parquet")
    assert [schema.field(name).type for name in ("step", "loss", "time")] == ["int64", "double", "string"]
    points = defaultdict(list)
    for row in parquet.read_table(place / "metrics.parquet").to_pylist():
        if row["run"] == run.path.name:
            points[row["step"]].append(row["loss"])
    assert numbers(points) == AFTER
    no_secret_below(place)


def test_tensorboard(sweep: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")

    def read() -> tuple[dict[int, float], Any]:
        events = accumulator.EventAccumulator(str(sweep / "export/tensorboard" / name), {"scalars": 0}).Reload()
        points = defaultdict(list)
        for event in events.Scalars("loss"):
            points[event.step].append(event.value)
        return numbers(points), events

    name = next(path.parent.name for path in sweep.glob("*/evaluation"))
    export(sweep, "tensorboard")
    found, events = read()
    assert found == BEFORE and events.Scalars("score/linear")[0].value == 30.0
    assert "_hparams_/session_start_info" in events.PluginTagToContent("hparams")
    went_on(sweep)
    for _ in range(2):
        export(sweep, "tensorboard")
    found, events = read()
    assert found == AFTER
    assert [event.wall_time for event in events.Scalars("loss")] == [1.79e9 + step for step in AFTER]
    no_secret_below(sweep / "export/tensorboard")


def test_mlflow(sweep: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    tracking = pytest.importorskip("mlflow.tracking")
    name = next(path.parent.name for path in sweep.glob("*/evaluation"))

    def read() -> tuple[str, dict[int, float]]:
        client = tracking.MlflowClient((sweep / "export/mlflow").as_uri())
        runs = client.search_runs([client.get_experiment_by_name("grid").experiment_id])
        assert sorted(run.info.status for run in runs) == ["FINISHED", "FINISHED", "SCHEDULED"]
        (damaged,) = (run for run in runs if run.info.run_name == "damaged-3c3c3c3c")
        assert damaged.data.metrics == {"_up": 1.0, "huge": math.inf} and damaged.data.params == {}
        run = next(run for run in runs if run.info.run_name == name)
        points = defaultdict(list)
        for point in client.get_metric_history(run.info.run_id, "loss"):
            points[point.step].append(point.value)
        assert run.data.params["seed"] == "1" and run.data.params["optim.batch_size"] == "128"
        assert run.data.metrics["score/linear"] == 30.0 and run.info.status == "FINISHED"
        return run.info.run_id, numbers(points)

    export(sweep, "mlflow")
    first, found = read()
    assert found == BEFORE
    metrics = RunFolder(sweep / name).metrics_file
    with metrics.open("a") as file:
        file.write(json.dumps({"step": 50, "loss": 1.0}) + "\n")
    for _ in range(2):
        export(sweep, "mlflow")
    again, found = read()
    assert found == BEFORE | {50: 1.0} and again != first, "its score is one of a later step now"
    went_on(sweep)
    export(sweep, "mlflow")
    assert read()[1] == AFTER
    same = read()[0]
    export(sweep, "mlflow")
    assert read() == (same, AFTER)
    no_secret_below(sweep / "export/mlflow")


@pytest.mark.parametrize(
    ("to", "module", "said"),
    [
        ("parquet", "pyarrow.parquet", "Parquet needs pyarrow .*pip install 'pyarrow>=15'"),
        ("tensorboard", "tensorboard.summary.writer.event_file_writer", "pip install 'tensorboard>=2.16'"),
        ("mlflow", "mlflow.tracking", "pip install 'mlflow-skinny>=3.1'"),
    ],
)
def test_without_the_package_a_sentence(
    sweep: Path, monkeypatch: pytest.MonkeyPatch, to: str, module: str, said: str
) -> None:
    monkeypatch.setitem(sys.modules, module.partition(".")[0], None)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ExportError, match=said):
        export(sweep, to)


def test_nothing_is_written_through_a_link(sweep: Path, tmp_path: Path) -> None:
    place = sweep / "export/csv"
    place.mkdir(parents=True)
    (place / "runs.csv").symlink_to(tmp_path / "theirs")
    with pytest.raises(ConfigError, match=r"runs\.csv is a link to .*theirs, and nothing is written outside"):
        export(sweep, "csv")
    (place / "runs.csv").unlink()
    place.rmdir()
    (sweep / "export").rmdir()
    (sweep / "export").symlink_to(tmp_path)
    with pytest.raises(ConfigError, match="is a link"):
        export(sweep, "csv")
    (tmp_path / "file").touch()
    with pytest.raises(ExportError, match=r"can't write to .*/file: Not a directory; name another folder with --into"):
        export(sweep, "csv", str(tmp_path / "file"))
    assert not (tmp_path / "theirs").exists() and not (tmp_path / "csv").exists()
    (tmp_path / "empty").mkdir()
    with pytest.raises(ExportError, match="holds no run to export"):
        export(tmp_path / "empty", "csv")


def test_columns_of_what_differs() -> None:
    rows: list[dict[str, Any]] = [{"a": 1, "b": True, "d": None}, {"a": 2.5, "b": "x", "c": (1, 2)}, {"a": 2**70}]
    columns = Columns().meet(rows[:2])
    assert dict(columns) == {"a": "number", "b": "text", "d": "none", "c": "text"}
    assert columns.cells(rows[0]) == [1.0, "true", None, None]
    assert dict(columns.meet(rows))["a"] == "text"
