"""One's own images: the recipe is chosen for them once, said before the first step, and kept; other images are another
run."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from golang.config import Config
from golang.config.checks import check, check_world
from golang.config.identity import run_id
from golang.config.recipe import chosen, lines
from golang.config.schema import LEFT
from golang.errors import ConfigError, DataError
from golang.runfolder.folder import RunFolder
from golang.settled import folder_of, identified, open_unchanged, settled
from launch.planning.cells import read
from launch.planning.compose import composing, resolved
from launch.planning.words import translated


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    for name in ("a.png", "b.png", "more/c.png"):
        Image.new("RGB", (8, 8), "red").save(folder / name)
    return folder


def own(root: Path, **optim: object) -> Config:
    return Config.own({"data": {"name": "folder", "root": str(root)}, "optim": optim})


@pytest.mark.parametrize(
    ("images", "ranks", "gpus", "batch", "rate", "epochs"),
    [
        (82_783, 2, True, 128, 0.6, 400),  # as published
        (118_287, 8, True, 512, 2.4, 280),
        (5_000, 1, True, 64, 0.3, 800),
        (2_000_000, 64, True, 2048, 9.6, 100),
        (300, 2, False, 32, 0.15, 800),
        (10, 4, True, 8, 0.0375, 800),  # no more images than there are
        (3, 4, True, 4, 0.0187, 800),
    ],
)
def test_the_rule(images: int, ranks: int, gpus: bool, batch: int, rate: float, epochs: int) -> None:
    config = chosen(own(Path("x")), images, ranks, gpus)
    optim = config.optim
    assert (optim.batch_size, optim.epochs) == (batch, epochs)
    assert optim.base_lr == pytest.approx(rate, rel=0.01)
    assert optim.final_lr == pytest.approx(optim.base_lr / 1000, rel=0.01)
    assert optim.freeze_iterations == images // batch * epochs // 50
    check(config)
    check_world(config, ranks)
    assert [line.split("=")[0].strip() for line in lines(config)[1:-1]] == [f"optim.{name}" for name in LEFT]


def test_what_is_typed_is_not_chosen_and_the_rest_follows_it() -> None:
    config = chosen(own(Path("x"), batch_size=32, epochs=5), 320, 1, True)
    assert (config.optim.batch_size, config.optim.epochs, config.optim.base_lr) == (32, 5, 0.15)
    assert config.optim.freeze_iterations == 1
    assert not any(f"optim.{name}=" in line for line in lines(config)[:-1] for name in ("batch_size", "epochs"))
    assert lines(Config()) == []


def test_zero_is_a_value_and_null_is_left_to_the_recipe() -> None:
    assert own(Path("x"), freeze_iterations=0).recipe.left == tuple(f"optim.{name}" for name in LEFT[:-1])
    assert Config.from_dict({"optim": {"epochs": None}}).recipe.left == ("optim.epochs",)
    with pytest.raises(ConfigError, match=r"optim\.momentum=None must be a number"):
        Config.from_dict({"optim": {"momentum": None}})


def test_the_id_is_of_what_was_left_not_of_what_was_chosen() -> None:
    config = own(Path("x"))
    small, large = chosen(config, 300, 1, False), chosen(config, 300_000, 8, True)
    assert run_id(config) == run_id(small) == run_id(large)
    assert Config.from_dict(small.to_dict()) == small
    assert run_id(own(Path("x"), epochs=400)) not in (run_id(config), run_id(Config()))


def test_what_was_chosen_stays_on_other_gpus(photos: Path, tmp_path: Path) -> None:
    begun = settled(own(photos), tmp_path / "run", ranks=2, gpus=True)
    RunFolder.create(tmp_path / "run", begun)
    Image.new("RGB", (8, 8), "blue").save(tmp_path / "unrelated.png")
    again = settled(own(photos), tmp_path / "run", ranks=1, gpus=False)
    assert again == begun and begun.optim.batch_size == 2
    assert settled(own(photos), tmp_path / "other", ranks=1, gpus=False).optim.batch_size == 3


def test_who_does_not_know_the_gpus_leaves_the_choice(photos: Path, tmp_path: Path) -> None:
    waiting = settled(own(photos), tmp_path / "run", ranks=1, gpus=None)
    RunFolder.create(tmp_path / "run", waiting)
    assert waiting.recipe.size == 0 and lines(waiting) == []
    check_world(waiting, 3)
    begun = settled(RunFolder(tmp_path / "run").config(), tmp_path / "run", ranks=1, gpus=True)
    assert begun.recipe.size == 3 and run_id(begun) == run_id(waiting)


def test_the_command_line_and_python_agree(photos: Path) -> None:
    words = translated([f"data.root={photos}", "data=folder"])
    assert "experiment=own" in words
    with composing() as compose:
        typed, _ = read(resolved(compose(words))[0])
    assert replace(typed, sweep="runs", data=identified(own(photos)).data) == identified(own(photos))


@pytest.mark.parametrize(
    ("words", "experiment"),
    [
        (["data=voc2007"], True),
        (["data=folder", "model=resnet18"], True),
        (["data=toy"], False),
        (["data=folder", "experiment=demo"], False),
        (["data=folder", "checkpoint=x.pt"], False),
        (["optim.epochs=2"], False),
    ],
)
def test_the_recipe_of_the_demo_is_for_the_demo(words: list[str], experiment: bool) -> None:
    assert ("experiment=own" in translated(words)) == experiment


def test_other_images_are_another_run_and_a_moved_folder_is_the_same(photos: Path, tmp_path: Path) -> None:
    first = run_id(identified(own(photos)))
    shutil.copytree(photos, tmp_path / "moved")
    assert run_id(identified(own(tmp_path / "moved"))) == first
    os.utime(tmp_path / "moved/a.png", (1, 1))
    assert run_id(identified(own(tmp_path / "moved"))) == first
    (tmp_path / "moved/a.png").rename(tmp_path / "moved/z.png")
    renamed = run_id(identified(own(tmp_path / "moved")))
    (tmp_path / "moved/b.png").write_bytes((tmp_path / "moved/b.png").read_bytes() + b"\0")
    larger = run_id(identified(own(tmp_path / "moved")))
    (tmp_path / "moved/b.png").unlink()
    assert len({first, renamed, larger, run_id(identified(own(tmp_path / "moved")))}) == 4


def test_ids_of_published_sets_need_no_images() -> None:
    config = Config.from_dict({"data": {"name": "coco2014", "root": "nowhere"}})
    assert identified(config) == config


def test_a_set_that_changed_under_its_run_is_refused(photos: Path) -> None:
    config = identified(own(photos))
    assert len(open_unchanged(config.data)) == 3
    Image.new("RGB", (8, 8), "red").save(photos / "d.png")
    with pytest.raises(DataError, match=r"photos has changed since this run was set up \(4 images, then 3\); restore"):
        open_unchanged(config.data)
    (photos / "d.png").unlink()
    (photos / "a.png").write_bytes(b"x")
    with pytest.raises(DataError, match="another name, size or label"):
        open_unchanged(config.data)


def test_a_run_of_before_sets_had_fingerprints_goes_on(photos: Path, tmp_path: Path) -> None:
    """Where its images lie at the same place; elsewhere it is another set's."""
    old = Config.from_dict({"data": {"name": "folder", "root": str(photos)}})
    run = RunFolder.create(tmp_path / "runs" / f"base-{run_id(old)}", old)
    there = {run_id(old): run.path}
    now = identified(old)
    assert run_id(now) != run_id(old) and folder_of(now, there) == run.path
    assert settled(now, run.path, 1, gpus=False) == old
    shutil.copytree(photos, tmp_path / "copy")
    other = identified(Config.from_dict({"data": {"name": "folder", "root": str(tmp_path / "copy")}}))
    assert folder_of(other, there) is None
    with pytest.raises(ConfigError, match=r"belongs to another run[\s\S]*data\.train\.fingerprint"):
        RunFolder.create(run.path, settled(other, run.path, 1, gpus=False))
