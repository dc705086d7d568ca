"""`launch report` on real run folders with known scores, times and ends."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from golang.config import Config, Data, Evaluation
from golang.config.identity import run_id
from golang.runfolder.evaluations import of_run
from golang.runfolder.files import yaml_text
from golang.runfolder.folder import RunFolder
from launch.__main__ import main
from launch.report import page as report
from launch.report.effects import axes, best_first, marginals
from launch.report.outcome import RunOutcome, outcomes
from launch.report.page import ReportError
from launch.sweep import ledger

ROOT = Path(__file__).parents[2]
START = 1.79e9


def stamp(second: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(START + second))


def rewrite(path: Path, **facts: object) -> None:
    path.write_text(json.dumps((json.loads(path.read_text()) if path.exists() else {}) | facts))


def add_run(sweep: Path, overrides: dict[str, Any], score: float | None = None, loss: float = 2.0) -> RunFolder:
    """A run of two ranks: it was killed at step 30 of 40 with a checkpoint at 20, and then finished."""
    nested: dict[str, Any] = {}
    for key, value in overrides.items():
        *path, last = key.split(".")
        node = nested
        for part in path:
            node = node.setdefault(part, {})
        node[last] = value
    config = Config.from_dict(nested)
    run = RunFolder.create(sweep / f"x-{run_id(config)}", config)
    typed = [*(f"{key}={value}" for key, value in overrides.items()), "cluster.nodes=1", "data.root=/d"]
    typed.append(f"notify.command=echo {run.path.name}")
    (run.path / "overrides.yaml").write_text(yaml_text({"overrides": typed}))
    ledger.append(sweep, "submitted", run=run_id(config), folder=run.path.name, job="7", submission="s")
    first = run.start_attempt(2, {}, None)
    first.write_status("running", 30, 40)
    rewrite(first.path / "start.json", started=stamp(0))
    rewrite(first.path / "status.json", updated=stamp(50))
    second = run.start_attempt(2, {}, "step_00000020.a00.pt")
    second.write_status("finished", 40, 40)
    second.write_cause("finished", 40)
    rewrite(second.path / "start.json", started=stamp(100))
    rewrite(second.path / "cause.json", at=stamp(150))
    lines = [{"step": s, "loss": loss, "step_seconds": 1.5, "attempt": int(s > 20)} for s in (10, 20, 30, 40)]
    run.metrics_file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    run.done_file.touch()
    if score is not None:
        (run.path / "evaluation").mkdir()
        rewrite(run.path / "evaluation/linear.json", mAP=score)
        rewrite(run.path / "evaluation/random_init.json", mAP=99.0)
    return run


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """A grid of epochs × seed in which one run has no mAP, and one of them was never evaluated."""
    sweep = tmp_path / "runs/grid"
    for epochs, seed, score in ((100, 1, 30.0), (100, 2, 32.0), (200, 1, 40.0), (200, 2, None)):
        add_run(sweep, {"optim.epochs": epochs, "seed": seed}, score)
    return sweep


def names(runs: list[RunOutcome]) -> list[tuple[str, str]]:
    return [(run.settings["optim.epochs"], run.settings["seed"]) for run in runs]


def test_the_order_and_what_each_setting_does(sweep: Path) -> None:
    runs = best_first(outcomes(sweep))
    assert names(runs) == [("200", "1"), ("100", "2"), ("100", "1"), ("200", "2")]
    assert axes(runs) == ["optim.epochs", "seed"]
    epochs, seed = marginals(runs)
    # Of seed 2 only one length has a score, so that cell says nothing of the length; the other way round likewise.
    assert [(level.value, level.mean, level.runs) for level in epochs.levels] == [("100", 30.0, 1), ("200", 40.0, 1)]
    assert [(level.value, level.mean) for level in seed.levels] == [("1", 30.0), ("2", 32.0)]


def test_without_any_map_the_loss_counts(tmp_path: Path) -> None:
    for seed, loss in ((1, 3.0), (2, 2.0)):
        add_run(tmp_path / "s", {"seed": seed}, loss=loss)
    runs = best_first(outcomes(tmp_path / "s"))
    assert [run.loss for run in runs] == [2.0, 3.0]
    (effect,) = marginals(runs)
    assert [level.mean for level in effect.levels] == [3.0, 2.0]


def test_goodput_counts_each_step_once(sweep: Path) -> None:
    for run in outcomes(sweep):
        assert run.useful == pytest.approx(40 * 1.5 * 2)
        assert run.total_seconds == pytest.approx((50 + 50) * 2)
        assert run.repeated == 10
        assert [attempt.cause for attempt in run.attempts] == ["lost", "finished"]
    text = report.write(sweep)[0].read_text()
    assert "**60.0 %**: 480 of 800 GPU-seconds; 40 steps were done again." in text


def test_a_slow_start_counts_for_the_steps_after_it_alone(sweep: Path) -> None:
    """The first line after a stop at step 28 tells of two steps, the eight before it were done at another pace."""
    run = RunFolder(sweep / outcomes(sweep)[0].name)
    rewrite(run.attempts / "01/start.json", resumed_from="step_00000028.a00.pt")
    told = ((10, 1.0, 0), (20, 1.0, 0), (30, 9.0, 1), (40, 2.0, 1))
    lines = [{"step": step, "step_seconds": seconds, "attempt": attempt} for step, seconds, attempt in told]
    run.metrics_file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert outcomes(sweep)[0].useful == pytest.approx(2 * (28 * 1.0 + 2 * 9.0 + 10 * 2.0))
    lines[-1]["step_seconds"] = 90.0
    run.metrics_file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert outcomes(sweep)[0].useful == pytest.approx(2 * (28 * 1.0 + 50)), "no more than the attempt lasted"


def test_an_attempt_lasts_to_its_newest_line(sweep: Path) -> None:
    """Its status file is written now and then only; steps after it would make more than 100 % of goodput."""
    run = RunFolder(sweep / outcomes(sweep)[0].name)
    (run.attempts / "01/cause.json").unlink()
    rewrite(run.attempts / "01/status.json", updated=stamp(102))
    with run.metrics_file.open("a") as file:
        file.write(json.dumps({"step": 50, "step_seconds": 1.0, "attempt": 1, "time": stamp(130)}) + "\n")
    assert outcomes(sweep)[0].attempts[1].seconds == 30


def test_what_goes_on_did_not_end(sweep: Path) -> None:
    run = RunFolder(sweep / outcomes(sweep)[0].name)
    (run.attempts / "01/cause.json").unlink()
    run.done_file.unlink()
    with run.hold():
        assert "before the run was finished: lost 4." in report.write(sweep)[0].read_text()


def test_goodput_is_never_more_than_all(sweep: Path) -> None:
    """Of an attempt of seconds the stamps, which are whole seconds, are too coarse."""
    for run in outcomes(sweep):
        for attempt in ("00", "01"):
            rewrite(sweep / run.name / "attempts" / attempt / "start.json", started=stamp(45 + 100 * int(attempt)))
    assert [run.goodput for run in outcomes(sweep)] == [1.0] * 4
    assert "**100.0 %**: 80 of 80 GPU-seconds" in report.write(sweep)[0].read_text()


def test_evaluations_are_figures_of_their_runs(sweep: Path) -> None:
    """Not rows of their own, and no seconds in which nothing was trained."""
    before = outcomes(sweep)
    trained = RunFolder(sweep / before[0].name)
    evaluation = Evaluation(protocol=("knn",), checkpoint=str(trained.path))
    (one,) = of_run(replace(trained.config(), data=Data(root="/d"), evaluation=evaluation), trained.path)
    RunFolder.create(sweep / f"knn,x-{run_id(one)}", one).start_attempt(1, {}, None)
    (trained.path / "evaluation/knn").mkdir(parents=True, exist_ok=True)
    rewrite(trained.path / "evaluation/knn/result.json", mAP=12.5)
    after = outcomes(sweep)
    assert [run.name for run in after] == [run.name for run in before]
    assert after[0].scores == before[0].scores | {"knn": 12.5}


def test_a_lost_node_did_not_work_until_it_was_missed(sweep: Path) -> None:
    """The next attempt names the cause, when it begins; until then the run waited."""
    run = RunFolder(sweep / outcomes(sweep)[0].name)
    rewrite(run.attempts / "00/cause.json", cause="node lost", step=30, at=stamp(99), by="the next attempt")
    first = outcomes(sweep)[0].attempts[0]
    assert (first.cause, first.seconds, first.reached) == ("node lost", 50, 30)
    rewrite(run.attempts / "00/cause.json", cause="killed", step=0, at=stamp(60), by="batch script")
    first = outcomes(sweep)[0].attempts[0]
    assert (first.cause, first.seconds, first.reached) == ("killed", 60, 30)


def test_the_text(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ledger.append(
        sweep, "failed", folder=outcomes(sweep)[0].name, reason="a | b\n# <script> &lt; $x$ ~~y~~ http://z.example"
    )
    assert main(["report", str(sweep)]) == 0
    text = (sweep / "report/report.md").read_text()
    assert str(sweep / "report/report.md") in capsys.readouterr().out
    assert "| 1 | 200 | 1 | 40.00 | 2.0000 | 40/40 | finished |" in text
    assert "| 4 | 200 | 2 | – | 2.0000 | 40/40 | finished |" in text
    assert "random" not in text, "it measures another network"
    assert "Attempts that ended before the run was finished: lost 4." in text
    assert (
        "| a &#124; b # &#60;script&#62; &#38;lt; &#36;x&#36; &#126;&#126;y&#126;&#126; http&#58;//z.example |" in text
    )
    assert "\n# <" not in text
    tables = [line for line in text.splitlines() if line.startswith("|")]
    assert all(line.endswith("|") for line in tables)


def test_the_picture(sweep: Path) -> None:
    pytest.importorskip("matplotlib")
    files = report.write(sweep)
    data = (sweep / "report/report.png").read_bytes()
    assert files[1] == sweep / "report/report.png" and data.startswith(b"\x89PNG")
    width, height = struct.unpack(">II", data[16:24])
    assert width > 1000 and height > 400
    assert [path.name for path in sorted((sweep / "report").iterdir())] == [
        "index.html",
        "report.md",
        "report.png",
    ]


@pytest.mark.parametrize("axes", [0, 6])
def test_no_text_of_the_picture_is_cut_or_covered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, axes: int) -> None:
    """Of one run the legend, and of many axes the title that names them."""
    figure = pytest.importorskip("matplotlib.figure").Figure
    keys = (
        "model.prototypes",
        "model.local_prototypes",
        "queue.start_epoch",
        "optim.epochs",
        "augment.large_size",
        "seed",
    )
    for value in (160, 224) if axes else (160,):
        add_run(tmp_path / "s", dict.fromkeys(keys[:axes], value) | {"optim.base_lr": 0.5}, value / 10)
    boxes, save = [], figure.savefig

    def drawn(self: Any, *given: Any, **options: Any) -> None:
        save(self, *given, **options)
        legend = self.subfigs[1].legends[0].get_window_extent()
        left, *right = self.subfigs[0].subfigs or self.subfigs[:1]
        titles = [left.axes[0].title, left.axes[0]._left_title, *(part._suptitle for part in right)]
        boxes.extend([self.bbox, legend, *(title.get_window_extent() for title in titles if title.get_text())])

    monkeypatch.setattr(figure, "savefig", drawn)
    report.write(tmp_path / "s")
    whole, *texts = boxes
    assert len(texts) == (3 if axes else 2)
    for text in texts:
        assert whole.x0 <= text.x0 and text.x1 <= whole.x1 and whole.y0 <= text.y0 and text.y1 <= whole.y1
    assert not any(one.overlaps(other) for one in texts for other in texts if one is not other)


def test_without_matplotlib_the_text_is_written(sweep: Path) -> None:
    code = (
        "import sys; sys.modules['matplotlib'] = None; from launch.__main__ import main; "
        f"sys.exit(main(['report', {str(sweep)!r}]) or ('torch' in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "No picture: pictures need matplotlib" in (sweep / "report/report.md").read_text().replace("\\", "")
    assert not (sweep / "report/report.png").exists()


def test_what_cannot_be_reported(tmp_path: Path, sweep: Path) -> None:
    with pytest.raises(ReportError, match="holds no run"):
        report.write(tmp_path)
    (sweep / "report").symlink_to(tmp_path)
    with pytest.raises(ReportError, match="is a link to elsewhere"):
        report.write(sweep)
    assert not (tmp_path / "report.md").exists()


def test_odd_folders_do_not_stop_a_report(sweep: Path) -> None:
    """A run that never began, and one whose files hold anything but what they should."""
    RunFolder.create(sweep / "fresh-3c3c3c3c", Config())
    run = RunFolder.create(sweep / "odd-4c4c4c4c", Config(seed=9))
    attempt = run.start_attempt(1, {}, None)
    for name in ("start.json", "status.json", "cause.json"):
        rewrite(attempt.path / name, step="x", world_size=[], started="yesterday", at=7, cause={"a": "$x$"}, host=None)
    run.metrics_file.write_text('{"step": "1"}\n{"step": 5, "loss": "NaN", "step_seconds": null}\n[1]\n{"st')
    (run.path / "evaluation").mkdir()
    rewrite(run.path / "evaluation/linear.json", mAP="high")
    text = report.write(sweep)[0].read_text()
    assert "fresh-3c3c3c3c" in text and "odd-4c4c4c4c" in text and "not started" in text
    for folder in ("fresh-3c3c3c3c", "odd-4c4c4c4c"):
        (sweep / folder / "overrides.yaml").unlink(missing_ok=True)
    RunFolder(sweep / "fresh-3c3c3c3c").config_file.write_text("{")
    runs = outcomes(sweep)
    assert [run.troubles for run in runs if run.name.startswith("fresh")] == [("config.yaml can't be read",)]
    untyped = [run for run in runs if run.name.startswith(("fresh", "odd"))]
    assert axes(untyped) == [], "a folder that says nothing makes no axis of the grid"
