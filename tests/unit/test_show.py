"""Pictures from the command line: attention of any checkpoint, average precision of two runs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from golang.evaluation.pictures import __main__ as show
from golang.evaluation.pictures import attention as pictures
from golang.method.model import build_model
from tests.resume.harness import encoded
from tests.unit.test_convert import published, small
from tests.unit.test_data import save

pytest.importorskip("matplotlib")


def test_attention_of_a_published_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = small()
    state = published(config)
    for name in state:
        if "running_var" in name:
            state[name] = state[name].abs() + 0.5
    torch.save({"state_dict": state}, tmp_path / "in.pth.tar")
    save(tmp_path / "one.jpg", 1)
    Image.new("RGB", (300, 260), (10, 200, 90)).save(tmp_path / "two.png")
    images = [str(tmp_path / "one.jpg"), str(tmp_path / "two.png")]
    command = ["attention", str(tmp_path / "in.pth.tar"), *images, "--out", str(tmp_path / "out"), "--heads", "2"]
    assert show.main(command) == 0
    written = [Path(line) for line in capsys.readouterr().out.splitlines()]
    names = ["grid.png", "one-head1.png", "one-head2.png", "two-head1.png", "two-head2.png"]
    assert [path.name for path in written] == names
    with Image.open(tmp_path / "out" / "one-head1.png") as small_one, Image.open(written[-1]) as cropped:
        assert small_one.size == (608, 456) and cropped.size == (448, 448), "enlarged"
        assert np.asarray(small_one).std() > 0
    model = pictures.load_golang(tmp_path / "in.pth.tar", None)
    own = build_model(config).eval()
    own.load_state_dict({("" if "head" in k or "proto" in k else "trunk.") + k[7:]: v for k, v in state.items()})
    pixels = torch.randint(0, 256, (1, 3, 32, 32), dtype=torch.uint8)
    found, wanted = (pictures.head_attention(each, pixels) for each in (model, own))
    assert found[0].shape == (1, 4, 4) and np.array_equal(found[0], wanted[0]) and found[1] == wanted[1] == (2, 2)


def test_the_settings_of_a_runs_own_checkpoint_count(tmp_path: Path) -> None:
    config = small()
    values = config.to_dict()
    values["model"]["group_heads"], values["attention"]["temperature"] = 2, 0.5
    content = {"config": values, "model": build_model(config).state_dict()}
    (tmp_path / "step_00000001.a00.pt").write_bytes(encoded(content))
    model = pictures.load_golang(tmp_path / "step_00000001.a00.pt", None)
    assert model.group_heads == 2 and model.attention_temperature == 0.5 and not model.training
    assert pictures.load_golang(tmp_path / "step_00000001.a00.pt", 8).group_heads == 8


@pytest.mark.parametrize(
    ("method", "heads", "message"),
    [("swav", "4", "no semantic attention to show: it lacks local_"), ("golang", "3", "--heads 3 does not divide 16")],
)
def test_what_cannot_be_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], method: str, heads: str, message: str
) -> None:
    torch.save({"state_dict": published(small(method))}, tmp_path / "in.pt")
    save(tmp_path / "a.jpg", 0)
    command = ["attention", str(tmp_path / "in.pt"), str(tmp_path / "a.jpg"), "--heads", heads]
    assert show.main(command) == 2
    assert message in capsys.readouterr().out


def test_classes_of_two_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, scores in (("a", {"cat": 30.0, "dog": 50.0}), ("b", {"cat": 40.0, "dog": 20.0}), ("c", {"bus": 1.0})):
        (tmp_path / name / "evaluation").mkdir(parents=True)
        (tmp_path / name / "evaluation" / "linear.json").write_text(json.dumps({"per_class": scores}))
    a, b, c, out = (str(tmp_path / name) for name in ("a", "b", "c", "bars.png"))
    assert show.main(["classes", a, b, "--out", out]) == 0
    with Image.open(out) as picture:
        assert picture.width > 800 and len(picture.convert("RGB").getcolors(2**20) or []) > 10
    assert show.main(["classes", a, c, "--out", out]) == 2
    assert show.main(["classes", a, str(tmp_path / "d"), "--out", out]) == 2
    said = capsys.readouterr().out
    assert "other classes" in said
    assert "has not been evaluated by quick linear probe; `python -m golang.evaluation" in said

    # A protocol that both were measured by comes before the probe.
    asked: list[object] = []
    monkeypatch.setattr(show, "draw_classes", lambda names, scores, out: asked.append((names, scores)))
    for name, points in (("a", 1.0), ("c", 2.0)):
        result = tmp_path / name / "evaluation" / "linear_voc" / "result.json"
        result.parent.mkdir()
        result.write_text(json.dumps({"mAP": points, "per_class": {"cat": points}}))
    assert show.main(["classes", a, c, "--out", out]) == 0
    assert asked == [(("a, linear_voc", "c, linear_voc"), ({"cat": 1.0}, {"cat": 2.0}))]
    assert show.main(["classes", a, b, "--out", out, "--evaluation", "linear_voc"]) == 2
    assert f"{b} has not been evaluated by linear_voc" in capsys.readouterr().out


def test_an_image_that_is_not_there_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"state_dict": published(small())}, tmp_path / "in.pt")
    assert show.main(["attention", str(tmp_path / "in.pt"), str(tmp_path / "gone.jpg")]) == 2
    assert f"{tmp_path / 'gone.jpg'} cannot be shown: " in capsys.readouterr().out
