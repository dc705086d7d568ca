"""Paths on the command line: any character in them, in every setting that is one; `~`; lists and grids of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from golang.config import Config, Data
from golang.config.paths import absolute, expanded
from golang.data import sets
from golang.runfolder.pinned import pinned
from launch.planning import paths
from launch.planning.cells import read as read_settings
from launch.planning.compose import composing, resolved
from launch.planning.grid import cells, settings_of
from launch.planning.plan import here
from launch.planning.words import KEYS, read, translated
from launch.settings import Launch

USUAL = ["~ a b", "ümlaut", "a#b", "a=b", "a(b", "it's", "a,b", "a[b", "a%b", "[a]"]
ODD = [
    *USUAL, " a", "a(b)", "a)b", 'say "a"', "a]b", "100%", "a{b}", "{a", "a;b", "a&b", "a:b", "a!b", "a@b", "a~b",
    "~nobody here", "null?", "true", "1e3", "007", "a=1,b=2-7d", "线",
]  # fmt: skip
SETTINGS = sorted(paths.KEYS - {"data.stage"})


def said(key: str, text: str) -> object:
    """What Hydra is told of a setting."""
    name = "evaluation.checkpoint" if key == "checkpoint" else key
    (value,) = [one.value() for one in read([f"{key}={text}"]) if one.key_or_group == name]
    return value


def test_every_path_is_known() -> None:
    assert {*SETTINGS, "checkpoint"} <= {*KEYS, "checkpoint"}
    looks_like_one = {
        key for key in KEYS if key.rpartition(".")[2] in ("root", "folder", "images", "annotations", "init")
    }
    assert looks_like_one <= paths.KEYS, "a new path is read like the others"


@pytest.mark.parametrize("key", SETTINGS)
def test_any_character_in_the_name_of_what_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.chdir(tmp_path)
    names = ODD if key == "data.root" else USUAL
    for name in names:
        Path(name).touch()
    for name in names:
        assert said(key, name) == name
    assert said(key, f"{tmp_path}/{''.join(USUAL)}") == f"{tmp_path}/{''.join(USUAL)}"


@pytest.mark.parametrize("key", SETTINGS)
def test_any_character_in_the_name_of_what_is_not_there_yet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in (f"{tmp_path}/{name}" for name in USUAL):
        if key in paths.MADE or "," not in name or key not in paths.RUNS or "=" in name:
            assert said(key, name) == name


def test_an_odd_path_comes_through_composition_and_grids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    odd = "".join(name for name in ODD if name.isprintable() and not name.startswith("~"))
    names = {key: f"{tmp_path}/{key} {odd}"[:250] for key in SETTINGS if key not in paths.RUNS}
    with composing() as compose:
        words = [f"{key}={name}" for key, name in names.items()]
        overrides = read(["data=list", "cluster=local", *words])
        for settings in (
            resolved(compose([one.input_line or "" for one in overrides]))[0],
            *settings_of(cells(overrides), compose),
        ):
            found = {}
            for key in names:
                node: object = settings
                for part in key.split("."):
                    node = node[part]  # type: ignore[index]
                found[key] = node
            assert found == names


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("data.root=[a,b c]", "data.train.images=[a,b c]"),
        ("data.root=[x=1,y#2]", "data.train.images=['x=1','y#2']"),
        ("data.root=['a,b',c]", "data.train.images=['a,b',c]"),
        ("data.root=[there,too,c]", "data.train.images=['there,too',c]"),
        ("data.train.images=a b", "data.train.images=a b"),
        ("data.val.images=[a(1),b]", "data.val.images=['a(1)',b]"),
        ("data.root=null", "data.root=null"),
        ("data.root=", "data.root="),
        ("data.root='a,b'", "data.root='a,b'"),
        (r"data.root=a\,b", r"data.root=a\,b"),
        ("data.root=${oc.env:HOME}/x", "data.root=${oc.env:HOME}/x"),
        ("data.separator=;", "data.separator=';'"),
        ("data.separator=,", "data.separator=','"),
        ("data.separator=|", "data.separator=|"),
    ],
)
def test_lists_and_what_is_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, typed: str, expected: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path("there,too").touch()
    assert translated([typed]) == [expected]


@pytest.mark.parametrize(
    ("typed", "values"),
    [
        ("model.init=choice(x=1,it's,a)", ["x=1", "it's", "a"]),
        ("model.init=a.pt,b.pt", ["a.pt", "b.pt"]),
        ("data.root=one#1,two=2", ["one#1", "two=2"]),
        ("evaluation.checkpoint=1a2b3c4d,4d3c2b1a", ["1a2b3c4d", "4d3c2b1a"]),
    ],
)
def test_grids_of_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, typed: str, values: list[str]) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("one#1", "two=2"):
        Path(name).touch()
    (override,) = read([typed, "cluster=local"])[:1]
    with composing():
        assert [cell[0].partition("=")[2].strip("'").replace("\\", "") for cell in cells([override])] == values


def test_a_home_stands_for_its_sign_everywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert expanded("~/a") == tmp_path / "a" and absolute("~/a/../b/.") == str(tmp_path / "b")
    assert expanded("~no such user/a") == Path("~no such user/a"), "which may be the name of a folder"
    assert expanded("a~") == Path("a~")
    launch = Launch.from_dict({"run_dir": "~/run"})
    assert here(Config(), launch, [])[0][1] == tmp_path / "run"
    assert here(Config(), Launch.from_dict({"runs_dir": "~/runs"}), [])[0][1].parent == tmp_path / "runs/runs"
    (tmp_path / "x.pt").write_bytes(b"x")
    config, _ = read_settings({"model": {"init": "~/x.pt"}, "checkpoint": {"folder": "~/fast"}})
    assert config.model.init == str(tmp_path / "x.pt") and config.checkpoint.folder == str(tmp_path / "fast")
    assert pinned(config) == config
    for name in ("coco2017", "voc2007", "imagenet", "toy", "folder", "list"):
        assert sets.READERS[name].root(Data(name=name, root="~/set")) == tmp_path / "set"  # type: ignore[arg-type]
