"""Grids, without a cluster: what their cells compose to, dry runs, evaluations behind trainings."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from omegaconf import DictConfig

from golang.config import Config, Evaluation
from golang.errors import ConfigError
from launch.planning import show
from launch.planning.compose import Compose, composing, resolved
from launch.planning.grid import cells, settings_of
from launch.planning.plan import plan, runs_of
from launch.planning.words import read, translated
from launch.settings import Cluster
from launch.submission.sbatch import Script
from launch.submission.submit import Fate, _arrays
from launch.sweep.folder import Plan, Planned


@pytest.fixture
def compose() -> Iterator[Compose]:
    with composing() as compose:
        yield compose


@pytest.mark.parametrize(
    "typed",
    [
        [[f"optim.epochs={e}", f"seed={s}"] for e, s in itertools.product((10, 200), (1, 2))],
        [["experiment=coco2014", f"model.group_heads={h}", "optim.base_lr=1e-3"] for h in (1, 4)],
        [[f"experiment={name}", "name='a,b'"] for name in ("coco2014", "swav_coco2014", "demo")],
        [["queue={length: 256}", f"queue.start_epoch={q}"] for q in (1, 2)],
        [["queue.length=128", f"queue={{length: {q}}}"] for q in (256, 512)],
        [["augment.large_scale=[0.2,1.0]", f"data.root={root}"] for root in ("null", "/a/b", "'x y'")],
        [[f"name=run-${{seed}}-{e}", f"seed={e}"] for e in (1, 2)],
        [["data=toy", f"data.toy.size={size}"] for size in (32, 64)],
        [["seed=1", "seed=2"]],
        [["cluster=slurm", "++cluster.env={A: b}", f"cluster.nodes={n}"] for n in (1, 2)],
        [["data.toy={size: 16}", f"data.toy.seed={n}"] for n in (1, 2)],
        [["cluster=slurm", "++cluster.env={A: b}", f"++cluster.env.B={n}"] for n in (1, 2)],
    ],
)
def test_a_cell_is_what_hydra_composes(compose: Compose, typed: list[list[str]]) -> None:
    settings = settings_of([tuple(cell) for cell in typed], compose)
    assert list(settings) == [resolved(compose(cell))[0] for cell in typed]


def test_a_value_grid_is_composed_once(compose: Compose) -> None:
    compositions = []

    def counted(overrides: Sequence[str]) -> DictConfig:
        compositions.append(overrides)
        return compose(overrides)

    typed = cells(read(["experiment=coco2014", "seed=range(20)", "optim.epochs=1,2,3", "cluster=slurm"]))
    assert len({str(settings) for settings in settings_of(typed, counted)}) == len(typed) == 60
    assert len(compositions) == 1


def test_cells_are_all_combinations_of_the_last_word_for_each_key(compose: Compose) -> None:
    words = ["seed=1,2", "model=glob(resnet1*)", "name='a,b'", "optim.epochs=range(1,3)", "seed=7", "cluster=slurm"]
    assert cells(read(words)) == [
        ("seed=7", f"model={model}", "name='a,b'", f"optim.epochs={epochs}", "cluster=slurm")
        for model in ("resnet101", "resnet18")
        for epochs in (1, 2)
    ]
    for endless in ("seed=interval(1,3)", "seed=range(1,1)", "seed=range(1,5,0)", "model=glob(x*)"):
        with pytest.raises(ConfigError, match=r"=.*\) names no value to run with"):
            cells(read([endless, "cluster=slurm"]))


def test_a_long_folder_name_keeps_what_differs(tmp_path: Path) -> None:
    shared = [f"model.{name}=64" for name in ("hidden_dim", "feature_dim", "prototypes", "local_prototypes", "depth")]
    (run,) = runs_of(Config(seed=7), (*shared, "seed=7", "cluster=local"), {*shared}, Cluster(), tmp_path, {})
    assert run.folder.name.startswith("seed=7,hidden_dim=64,") and run.folder.name.endswith(f"-{run.id}")


@pytest.mark.parametrize("where", ["slurm", "local"])
def test_a_dry_run_shows_a_whole_path_and_only_a_script_that_would_be_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], where: str
) -> None:
    run = Planned("0a0a0a0a", Config(), ("seed=1",), Cluster(name=where), tmp_path / "base-0a0a0a0a")
    show.plan(Plan(tmp_path, (), (run,), "current", True), "#!/bin/bash")
    said = capsys.readouterr().out
    assert f"1 runs for {tmp_path}\n" in said and ("#!/bin/bash" in said) == (where == "slurm")


@pytest.mark.parametrize(
    "grid", ["optim.epochs=1,2", "seed=range(3)", "model=choice(small,resnet18)", "sweep=standard"]
)
def test_a_grid_without_a_cluster_names_the_choices(grid: str) -> None:
    with pytest.raises(ConfigError, match=r"cluster=slurm or cluster=local"):
        read([grid])
    read([grid, "cluster=slurm"])


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        (["evaluation=[linear_coco, knn]"], ["evaluation=linear_coco", "evaluation.protocol=[linear_coco,knn]"]),
        (["evaluation=[probe,knn]"], ["evaluation=probe", "evaluation.protocol=[knn]"]),
        (["checkpoint=a.pt"], ["evaluation.checkpoint=a.pt", "experiment=evaluate"]),
        (["data=toy", "checkpoint=runs/a/b=1,c=2-7d"], ["data=toy", "evaluation.checkpoint='runs/a/b=1,c=2-7d'"]),
        (["data=toy", "checkpoint='a=1'"], ["data=toy", "evaluation.checkpoint='a=1'"]),
        (["model.init=runs/b=1/step_1.pt"], ["model.init='runs/b=1/step_1.pt'"]),
        (["data=toy", "checkpoint=a.pt"], ["data=toy", "evaluation.checkpoint=a.pt"]),
        (["checkpoint.keep_last=1", "cluster.exclude=n[1,2]"], ["checkpoint.keep_last=1", "cluster.exclude='n[1,2]'"]),
    ],
)  # fmt: skip
def test_words_of_ours_in_hydras_grammar(typed: list[str], expected: list[str]) -> None:
    assert translated(typed) == expected


@pytest.mark.parametrize(
    ("typed", "value"),
    [
        ("cluster.partition=low,high", "low,high"), ("cluster.qos=a,b", "a,b"), ("cluster.reservation=a,b", "a,b"),
        ("cluster.account=a,b", "a,b"), ("cluster.gres=gpu:1,fs:2", "gpu:1,fs:2"), ("cluster.mem=1,2", "1,2"),
        ("cluster.nodelist=n[1-4,7],m", "n[1-4,7],m"), ("cluster.exclude=n1,n2", "n1,n2"),
        ("cluster.exclude=[n1,n2]", ["n1", "n2"]), ("cluster.constraint=a,b", "a,b"),
        ("cluster.constraint=[a|b]", "[a|b]"), ("cluster.constraint=a&b", "a&b"),
        ("cluster.dependency=afterok:1,afterok:2", "afterok:1,afterok:2"), ("cluster.setup=load a,b", "load a,b"),
        ("cluster.setup=[one,two]", ["one", "two"]), ("cluster.extra.mail-type=END,FAIL", "END,FAIL"),
        ("+cluster.extra.mail-type=END,FAIL", "END,FAIL"), ("cluster.extra.x='a,b'", "a,b"),
        ("cluster.env.X=a,b", "a,b"), ("cluster.env.X=it's, \\", "it's, \\"), ("cluster.env.X=1e3", "1e3"),
        ("cluster.env.X=a,${seed}", "a,${seed}"), ("cluster.env={X: 1}", {"X": 1}), ("cluster.mem=null", None),
        ("cluster.extra.hold=true", True), ("tracking.notes=one, two", "one, two"),
        ("tracking.tags=a,b", ["a", "b"]), ("tracking.tags=[a,b]", ["a", "b"]), ("tracking.tags=a", "a"),
    ],
)  # fmt: skip
def test_a_comma_in_text_is_text(typed: str, value: object) -> None:
    (override,) = read([typed])
    assert override.value() == value and not override.is_sweep_override()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["data.workers=0,1,2", "seed=1,2"], "data.workers=0 and data.workers=1 are the same run, [0-9a-f]{8}: "
         "data.workers is no part .* give one value, such as data.workers=0. A name=NAME"),
        (["cluster.partition=choice(low,high)"], "cluster.partition=low,high, without choice.., is one, as Slurm"),
        (["cluster.env.X=choice(a,b)"], "cluster.env.X=a,b, without choice.., is one, as Slurm takes it"),
        (["cluster.nodes=1,2"], "give one value, such as cluster.nodes=1"),
        (["tracking=none,offline"], "tracking=none and tracking=offline are the same run"),
        (["evaluation=probe,knn"], r"evaluation=\[probe,knn\] asks for both"),
        (["evaluation=none,probe"], "give one value, such as evaluation=none"),
    ],
)  # fmt: skip
def test_a_grid_whose_cells_are_one_run_is_refused(compose: Compose, words: list[str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        planned(compose, words)


@pytest.mark.parametrize(
    ("words", "runs"),
    [
        (["evaluation=knn,linear_coco"], 3),
        (["seed=1,1"], 1),
        (["cluster.time=choice(10,20)", "optim.epochs=${cluster.time}"], 2),
        (["optim.epochs=10,20", "cluster.time=${optim.epochs}", "cluster.partition=a,b"], 2),
    ],
)
def test_a_grid_of_several_runs_is_none_that_loses_any(compose: Compose, words: list[str], runs: int) -> None:
    assert len(planned(compose, words).runs) == runs


def planned(compose: Compose, words: list[str]) -> Plan:
    typed = cells(read(["experiment=demo", "cluster=slurm", *words]))
    return plan([], typed, settings_of(typed, compose))


def test_a_comma_that_makes_no_grid_is_said(compose: Compose, capsys: pytest.CaptureFixture[str]) -> None:
    show.plan(planned(compose, ["cluster.env.X=1,2", "cluster.extra.mail-type=END,FAIL", "seed=1,2"]), "")
    said = " ".join(capsys.readouterr().out.split())
    assert "each of these is one value: cluster.env.X='1,2' cluster.extra.mail-type='END,FAIL' " in said
    show.plan(planned(compose, ["cluster.env.X=1", "cluster.exclude=[a,b]", "seed=1,2"]), "")
    assert "one value" not in capsys.readouterr().out


def test_evaluations_wait_for_their_runs() -> None:
    """For an array element by element if they are as many, else for single jobs; for nothing if all is done."""
    script = Script(Cluster("slurm", extra={"mail-type": "END"}), Path("code"), "x", Path(), 60)

    def arrays(jobs: dict[str, str]) -> list[tuple[str | None, list[str]]]:
        runs = [
            Planned(
                f"{name}{parent}", Config(evaluation=Evaluation(protocol=(name,))), (), script.cluster, Path(), parent
            )
            for parent in jobs
            for name in ("knn", "linear_coco")
        ]
        fates = {parent: Fate(runs[0], "submitted" if job else "finished", job) for parent, job in jobs.items()}
        found = _arrays(runs, {run.id: script for run in runs}, fates)
        for one, _ in found:
            waits = one.cluster.dependency is not None
            assert one.cluster.extra == {"mail-type": "END"} | ({"kill-on-invalid-dep": "yes"} if waits else {})
        return [(one.cluster.dependency, [run.id for run in group]) for one, group in found]

    assert arrays({"a": "7_0", "b": "7_1"}) == [
        ("aftercorr:7", ["knna", "knnb"]),
        ("aftercorr:7", ["linear_cocoa", "linear_cocob"]),
    ]
    assert arrays({"a": "7_1", "b": "", "c": "8"}) == [
        ("afterok:7_1", ["knna"]),
        ("afterok:7_1", ["linear_cocoa"]),
        (None, ["knnb", "linear_cocob"]),
        ("afterok:8", ["knnc"]),
        ("afterok:8", ["linear_cococ"]),
    ]
