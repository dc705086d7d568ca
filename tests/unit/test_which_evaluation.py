"""Evaluations on any labelled set: which set is meant, and what makes one that evaluation."""

from __future__ import annotations

from dataclasses import asdict, replace

import pytest

from golang.config import Config, Data, Evaluation, Part
from golang.config.checks import check
from golang.config.identity import run_id
from golang.config.labels import has_labels
from golang.errors import ConfigError
from golang.evaluation.protocols import numbers as protocols
from golang.evaluation.protocols.numbers import PROTOCOLS
from golang.runfolder.evaluations import data_of, of_checkpoint, result_name
from launch.planning.compose import composing
from launch.planning.grid import cells, settings_of
from launch.planning.plan import plan
from launch.planning.words import read

ANNOTATED = {"train": {"annotations": "t.json"}, "val": {"annotations": "v.json"}}


def config_of(data: dict, **evaluation: object) -> Config:
    return Config.from_dict({"data": data, "evaluation": evaluation})


@pytest.mark.parametrize(
    ("data", "labelled"),
    [
        ({"name": "coco2014"}, True),
        ({"name": "imagenet"}, True),
        ({"name": "list"}, True),
        ({"name": "folder"}, False),
        ({"name": "coco"}, False),
        ({"name": "coco", **ANNOTATED}, True),
        ({"name": "coco", "train": ANNOTATED["train"]}, False),
        ({"name": "coco", "root": "/a"}, True),
        ({"name": "coco", "train": ANNOTATED["train"], "holdout": 0.2}, True),
    ],
)
def test_which_sets_have_labels(data: dict, labelled: bool) -> None:
    config = config_of(data, probe_every_epochs=2)
    assert has_labels(config.data) is labelled
    if labelled:
        check(config)
        return
    with pytest.raises(ConfigError, match=f"needs labels, and data={data['name']} has none"):
        check(config)


@pytest.mark.parametrize(
    ("name", "data", "evaluation", "found"),
    [
        ("linear", {"name": "voc2012", "root": "/a"}, {}, ("voc2012", "/a")),
        ("semisup", {"name": "list", "root": "/a.csv"}, {}, ("list", "/a.csv")),
        ("semisup", {"name": "imagenet", "root": "/a"}, {"root": "/b"}, ("imagenet", "/b")),
        ("linear", {"name": "toy"}, {}, ("toy", None)),
        ("knn", {"name": "list", "root": "/a.csv"}, {}, ("list", "/a.csv")),
        ("knn", {"name": "coco", **ANNOTATED}, {}, ("coco", None)),
        ("knn", {"name": "voc2007", "root": "/a"}, {"checkpoint": "x.pt"}, ("voc2007", "/a")),
        # As ever: COCO 2014.
        ("knn", {"name": "coco2014", "root": "/a"}, {}, ("coco2014", "/a")),
        ("knn", {"name": "coco2017", "root": "/a"}, {}, ("coco2014", "/a")),
        ("knn", {"name": "voc2007", "root": "/a"}, {"root": "/b"}, ("coco2014", "/b")),
        ("knn", {"name": "folder", "root": "/a"}, {"root": "/b"}, ("coco2014", "/b")),
        ("knn", {"name": "folder", "root": "/a"}, {"checkpoint": "x.pt"}, ("coco2014", "/a")),
        ("linear_coco", {"name": "voc2007", "root": "/a"}, {"checkpoint": "x.pt"}, ("coco2014", "/a")),
        ("linear_voc", {"name": "voc2012", "root": "/a"}, {}, ("voc2007", "/a")),
        ("linear_coco", {"name": "coco", **ANNOTATED}, {"root": "/b"}, ("coco2014", "/b")),
        # What cannot be.
        ("linear_coco", {"name": "coco", **ANNOTATED}, {}, "data=coco is another set"),
        ("knn", {"name": "folder", "root": "/a"}, {}, r"measured on coco2014, .*set evaluation\.root=FOLDER"),
        ("linear", {"name": "folder", "root": "/a"}, {}, "needs labels: data=folder has no labels.*data=list"),
        (
            "semisup",
            {"name": "coco", "train": ANNOTATED["train"]},
            {},
            r"no images to measure on; set data\.val\.annotations=FILE, or data\.holdout=0\.2",
        ),
    ],
)
def test_the_set_that_is_meant(name: str, data: dict, evaluation: dict, found: tuple | str) -> None:
    config = config_of(data, **evaluation, protocol=[name])
    if isinstance(found, tuple):
        own = data_of(config, name)
        assert (own.name, own.root) == found and own.workers == config.data.workers
        return
    with pytest.raises(ConfigError, match=found):
        data_of(config, name)


SHA = "ab" * 32


@pytest.mark.parametrize(
    ("protocol", "published", "id"),
    [
        ("linear_coco", False, "4daec1d8"),
        ("linear_coco", True, "e587c8c3"),
        ("semisup_coco_10", False, "13f3d026"),
        ("semisup_coco_10", True, "794e04aa"),
        ("knn", False, "bec188fe"),
        ("knn", True, "c44d81ce"),
    ],
)
def test_evaluations_of_before_keep_their_ids_and_folders(protocol: str, published: bool, id: str) -> None:
    data = {"name": "coco2014", "root": "/x"}
    config = config_of(data, protocol=protocol, published=published, checkpoint="/a/b.pt", checkpoint_sha256=SHA)
    assert run_id(config) == id
    (one,) = of_checkpoint(config)
    assert run_id(one) == id and result_name(one) == protocol + "-published" * published


def evaluated(protocol: str, data: dict | None = None, **numbers: object) -> Config:
    data = data or {"name": "voc2012", "root": "/a"}
    return config_of(data, protocol=protocol, checkpoint="/a/b.pt", checkpoint_sha256=SHA, **numbers)


def test_each_set_and_each_number_makes_another_evaluation() -> None:
    def prints(letter: str) -> dict:
        return {"name": "list", "root": "/a.csv", "train": {"fingerprint": letter}, "val": {"fingerprint": letter}}

    all_ = [
        evaluated("linear"), evaluated("semisup"), evaluated("knn"),
        evaluated("linear", epochs=5), evaluated("linear", epochs=5, lr=0.5), evaluated("linear", batch_size=5),
        evaluated("semisup", share=0.5), evaluated("semisup", share=0.5, published=True),
        evaluated("linear", {"name": "imagenet"}), evaluated("linear", prints("a")), evaluated("linear", prints("b")),
        evaluated("linear", {"name": "toy"}), evaluated("linear", {"name": "toy", "toy": {"seed": 1}}),
    ]  # fmt: skip
    names = [result_name(one) for one in all_]
    assert len({run_id(one) for one in all_}) == len(set(names)) == len(all_)
    assert names[:8] == [
        "linear-voc2012", "semisup-voc2012", "knn-voc2012", "linear-voc2012-epochs=5", "linear-voc2012-epochs=5-lr=0.5",
        "linear-voc2012-batch_size=5", "semisup-voc2012-share=0.5", "semisup-voc2012-share=0.5-published",
    ]  # fmt: skip
    assert names[8] == "linear-imagenet" and names[9].startswith("linear-list-")
    assert run_id(evaluated("linear", share=0.1)) == run_id(evaluated("linear")), "the default"


def test_several_evaluations_share_no_numbers() -> None:
    asked = evaluated("knn", epochs=5, share=0.2)
    asked = replace(asked, evaluation=replace(asked.evaluation, protocol=("knn", "linear", "semisup", "linear_voc")))
    check(asked)
    near, linear, semisup, voc = of_checkpoint(asked)
    assert run_id(near) == run_id(evaluated("knn")) and run_id(linear) == run_id(evaluated("linear", epochs=5))
    assert run_id(semisup) == run_id(evaluated("semisup", epochs=5, share=0.2))
    assert voc.evaluation == evaluated("linear_voc").evaluation
    for one in (near, linear, semisup, voc):
        check(one)


@pytest.mark.parametrize(
    ("evaluation", "message"),
    [
        (
            {"protocol": "linear_coco", "epochs": 5},
            r"evaluation\.epochs=5 is a number of evaluation=linear and semisup",
        ),
        ({"protocol": "linear", "share": 0.2}, r"evaluation\.share=0\.2 is a number of evaluation=semisup, which"),
        ({"protocol": ["linear_coco", "knn"], "lr": 0.1}, r"evaluation=\[linear_coco,knn\] does not ask for"),
        ({"protocol": "linear", "epochs": 0}, r"evaluation\.epochs=0 must be greater than 0"),
        ({"protocol": "semisup", "share": 0.0}, r"evaluation\.share=0\.0 must be above 0 and at most 1"),
        ({"protocol": "linear", "lr": -1.0}, r"evaluation\.lr=-1\.0 must be greater than 0"),
    ],
)
def test_numbers_that_cannot_count_are_refused(evaluation: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check(config_of({"name": "voc2012"}, **evaluation))
    if "must" not in message:
        check(config_of({"name": "voc2012"}, **{**evaluation, "protocol": []}))  # a training's, whose evaluations wait


def test_the_numbers_are_the_published_ones_unless_replaced() -> None:
    linear, semisup = protocols.asked(evaluated("linear")), protocols.asked(evaluated("semisup"))
    assert linear == replace(PROTOCOLS["linear_coco"], name="linear", data="voc2012")
    assert semisup == replace(PROTOCOLS["semisup_coco_10"], name="semisup", data="voc2012")
    assert protocols.asked(evaluated("linear_voc")) == PROTOCOLS["linear_voc"]
    other = protocols.asked(evaluated("semisup", epochs=50, batch_size=4, lr=0.2, share=0.5))
    assert (other.epochs, other.milestones, other.batch_size, other.share) == (50, (30, 40), 4, 0.5)
    assert (other.head_lr, other.trunk_lr) == (0.2, pytest.approx(0.002))
    assert not protocols.asked(evaluated("semisup", published=True)).tunes_trunk


def test_a_set_has_no_part_of_another() -> None:
    """evaluation.root is all of where a set is: no part of the run's own set is mixed in."""
    own = Data("list", None, Part(("a.csv",), fingerprint="1"), Part(("b.csv",), fingerprint="2"), workers=3)
    config = Config(data=own, evaluation=Evaluation(protocol=("linear",), root="/c.csv"))
    assert asdict(data_of(config, "linear")) == asdict(Data("list", "/c.csv", workers=3))


def test_as_it_is_typed() -> None:
    """A training on own photos with evaluations behind it; by the names of their folders."""
    words = ["data=imagenet", "data.root=/photos", "cluster=slurm", "evaluation=[semisup,knn]", "evaluation.share=0.2"]
    with composing() as compose:
        typed = cells(read(words))
        training, semisup, near = plan([], typed, settings_of(typed, compose)).runs
    assert run_id(training.config) == training.id and not training.config.evaluation.protocol
    assert semisup.folder.name.startswith("semisup-imagenet-share=0.2,data=imagenet") and semisup.after == training.id
    assert near.folder.name.startswith("knn-imagenet,data=imagenet") and near.config.evaluation.share == 0.1
    assert {run.config.data.root for run in (semisup, near)} == {"/photos"}
