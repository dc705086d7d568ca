"""`golang.runs` on real run folders, whole and damaged."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import golang
from golang.config import Config, Data, Evaluation, keys
from golang.config.identity import run_id
from golang.errors import DataError
from golang.records.table import Runs, row
from golang.runfolder.evaluations import of_run
from golang.runfolder.folder import RunFolder
from golang.sources import ROOT
from tests.unit.test_report import add_run, rewrite


def test_a_runs_root_a_sweep_and_one_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = add_run(tmp_path / "runs/grid", {"optim.epochs": 15, "seed": 1}, 30.0)
    add_run(tmp_path / "runs/grid", {"optim.epochs": 7, "seed": 2})
    alone = RunFolder.create(tmp_path / "runs/alone", Config(name="alone"))
    snapshot = tmp_path / "runs/grid/code/1f/configs"  # of the code, whose settings are no run's
    snapshot.mkdir(parents=True)
    (snapshot / "config.yaml").write_text("defaults:\n  - _self_\n")
    (tmp_path / "runs/linked").symlink_to(tmp_path / "runs/grid")
    found = golang.runs(tmp_path / "runs")
    assert [run.path.parent.name for run in found] == ["runs", "grid", "grid"] and found[0].path == alone.path
    assert [run.name for run in golang.runs(str(tmp_path / "runs/grid"))] == [run.name for run in found[1:]]
    monkeypatch.chdir(first.path.parent)
    (run,) = golang.runs(first.path.name)
    assert (run.path, run.state, run.step, run.total, run.loss) == (first.path, "finished", 40, 40, 2.0)
    assert (run.settings["optim.epochs"], run.settings["augment.large_scale"]) == (15, (0.14, 1.0))
    assert run.typed == ("optim.epochs", "seed") and run.scores == {"linear": 30.0} and not run.troubles
    assert [attempt.cause for attempt in run.attempts] == ["lost", "finished"]
    assert run.goodput == pytest.approx(0.6) and run.repeated == 10
    assert [line["step"] for line in run.metrics()] == [10, 20, 30, 40]
    assert run.evaluation("linear") == {"mAP": 30.0} and run.folder.metrics_file.is_file()
    with pytest.raises(DataError, match=r"no result of an evaluation 'liner' — did you mean linear\?"):
        run.evaluation("liner")
    with pytest.raises(DataError, match="nowhere is no folder; give a run"):
        golang.runs("nowhere")
    assert golang.runs(snapshot) == []


def test_an_evaluation_is_a_figure_of_its_run_or_a_record(tmp_path: Path) -> None:
    """It has one of its own where the run that it measures is not there."""
    trained = add_run(tmp_path / "runs/grid", {"seed": 1})
    asked = replace(trained.config(), data=Data(root="/d"), evaluation=Evaluation(protocol=("knn",)))
    (one,) = of_run(asked, trained.path)
    for sweep in ("grid", "elsewhere"):
        RunFolder.create(tmp_path / f"runs/{sweep}/knn-{run_id(one)}", one)
    (trained.path / "evaluation/knn").mkdir(parents=True)
    rewrite(trained.path / "evaluation/knn/result.json", mAP=12.5)
    (run,) = golang.runs(tmp_path / "runs")
    assert run.path == trained.path and run.scores == {"knn": 12.5}
    (evaluation,) = golang.runs(tmp_path / "runs/elsewhere")
    assert (evaluation.scores, evaluation.step, evaluation.troubles) == ({"knn": 12.5}, 0, ())
    assert evaluation.evaluation("knn") == {"mAP": 12.5}


def test_what_is_damaged_is_named_and_never_guessed(tmp_path: Path) -> None:
    whole = add_run(tmp_path, {"seed": 1}, 5.0)
    with whole.metrics_file.open("a") as file:
        file.write('{"step": 30, "loss": 1.5}\n{"step": "x"}\nnull\n{"step": 50, "lo')
    (whole.path / "evaluation/knn").mkdir()
    (whole.path / "evaluation/knn/result.json").write_text("[")
    (run,) = golang.runs(whole.path)
    assert [(line["step"], line["loss"]) for line in run.metrics()] == [(10, 2), (20, 2), (30, 1.5), (40, 2)]
    told = "metrics.jsonl: 3 of 7 lines can't be read, or are of a step told twice"
    assert run.troubles == (told, "evaluation/knn/result.json can't be read") and run.scores == {"linear": 5.0}
    whole.config_file.write_text("{")
    (whole.attempts / "00/start.json").unlink()
    whole.metrics_file.unlink()
    os.mkfifo(whole.metrics_file)
    (run,) = golang.runs(tmp_path)
    assert run.settings == {"seed": "1"} and run.loss is None and run.metrics() == [] and run.useful == 0
    assert run.troubles[:3] == (
        "config.yaml can't be read",
        "when attempt 0 began can't be read",
        "metrics.jsonl can't be read: not a plain file",
    )
    whole.metrics_file.unlink()
    whole.config_file.unlink()
    (run,) = golang.runs(tmp_path)
    assert run.troubles[:1] == ("config.yaml is missing",) and "metrics.jsonl is missing" in run.troubles


def test_a_data_frame(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    for seed, score in ((1, 30.0), (2, 32.0), (3, None)):
        add_run(tmp_path, {"seed": seed}, score)
    RunFolder.create(tmp_path / "fresh-3c3c3c3c", Config(seed=4))
    table = golang.runs(tmp_path).to_pandas()
    assert isinstance(table, pandas.DataFrame) and len(table) == 4
    assert table.groupby("optim.epochs")["score.linear"].mean().to_dict() == {400: 31.0}
    assert sorted(table["seed"]) == [1, 2, 3, 4] and table["goodput"].count() == 3
    facts = {name for name in row(golang.runs(tmp_path)[0]) if "score." not in name} - set(keys(Config))
    assert len(facts) == 11, "no column of ours is hidden by a setting of the same name"


def test_without_pandas_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(DataError, match=r"a data frame needs pandas .*: pip install 'pandas>=2.1'"):
        Runs().to_pandas()


def test_it_loads_no_torch(tmp_path: Path) -> None:
    run = add_run(tmp_path, {"seed": 1}, 30.0)
    code = (
        "import sys, json, golang; heavy = {'torch', 'numpy', 'golang.config'} & set(sys.modules); "
        f"(run,) = golang.runs({str(run.path)!r}); run.metrics(); run.evaluation('linear'); "
        "print(json.dumps([sorted(heavy), 'torch' in sys.modules, 'runs' in dir(golang) or 'runs' in golang.__all__]))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [[], False, True]
