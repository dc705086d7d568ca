"""Checkpoints of the world: every layout recognised, every tensor accounted for, there and back bit for bit."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from torch import Tensor

from golang.config import Config
from golang.config.identity import result_settings, run_id
from golang.errors import CheckpointError, ConfigError
from golang.method.model import build_model
from golang.processes.train import train
from golang.runfolder.checkpoints import find
from golang.runfolder.pinned import pinned
from golang.settled import identified
from golang.weights import layouts as weights
from golang.weights.__main__ import IncompleteError, convert, main
from golang.weights.sealed import read as read_bundle
from launch.planning.cells import read
from tests.resume.harness import differences, final_state, launch, settings
from tests.unit.test_data import save

KEYS = Path(__file__).parents[1] / "golden" / "data" / "state_dict_resnet50.json"


def small(method: str = "golang", seed: int = 0) -> Config:
    return settings(Path("unused"), seed=seed, method={"name": method}, queue={"local_length": 0})


def published(config: Config, seed: int = 1) -> dict[str, Tensor]:
    """A network's tensors under the published names, with the numbers of a trained one."""
    generator = torch.Generator().manual_seed(seed)
    state = build_model(config).state_dict()
    return {
        "module." + name.removeprefix("trunk."): torch.randn(value.shape, generator=generator)
        if value.is_floating_point()
        else torch.tensor(7)
        for name, value in state.items()
    }


def bits(state: dict[str, Tensor]) -> dict[str, bytes]:
    return {name: value.numpy().tobytes() for name, value in state.items()}


def load(path: Path) -> dict:
    return torch.load(path, weights_only=True)


@pytest.mark.parametrize("method", ["golang", "swav"])
def test_there_and_back_bit_for_bit(tmp_path: Path, method: str) -> None:
    layout = {"golang": "published", "swav": "swav"}[method]
    state = published(small(method))
    torch.save({"epoch": 3, "state_dict": state, "optimizer": {"lr": np.float64(0.3)}}, tmp_path / "in.pth.tar")
    rows = convert(tmp_path / "in.pth.tar", tmp_path / "own.pt", "own", allow=False)
    assert {fate for _, _, fate in rows} == {"written"} and [there for there, _, _ in rows] != []
    assert sorted(there for there, _, _ in rows) == sorted(state), "every key accounted for"
    assert set(read_bundle(tmp_path / "own.pt")["model"]) == set(build_model(small(method)).state_dict())
    convert(tmp_path / "own.pt", tmp_path / "out.pth.tar", layout, allow=False)
    assert bits(load(tmp_path / "out.pth.tar")["state_dict"]) == bits(state)
    assert weights.read(tmp_path / "out.pth.tar").layout == layout
    assert weights.read(tmp_path / "in.pth.tar").beside == ("epoch", "optimizer")


def test_swav_without_wrapping(tmp_path: Path) -> None:
    """Its published files hold the tensors alone, its training checkpoints wrap them."""
    state = published(small("swav"))
    torch.save(state, tmp_path / "bare.pth.tar")
    torch.save({name.removeprefix("module."): value for name, value in state.items()}, tmp_path / "plain.pth.tar")
    for name in ("bare", "plain"):
        found = weights.read(tmp_path / f"{name}.pth.tar")
        assert found.layout == "swav" and bits(found.arranged("swav")["state_dict"]) == bits(state)
    with pytest.raises(IncompleteError, match="11 tensors of the layout published are missing: local_projection_head"):
        convert(tmp_path / "bare.pth.tar", tmp_path / "out.pt", "published", allow=False)


def test_a_damaged_checkpoint_of_our_own(tmp_path: Path) -> None:
    torch.save({"state_dict": published(small())}, tmp_path / "in.pt")
    convert(tmp_path / "in.pt", tmp_path / "own.pt", "own", allow=False)
    data = bytearray((tmp_path / "own.pt").read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "own.pt").write_bytes(data)
    with pytest.raises(CheckpointError, match="is damaged: its checksum does not hold"):
        weights.read(tmp_path / "own.pt")


def test_the_published_keys(tmp_path: Path) -> None:
    """All 339 of ResNet-50, by name, shape and type."""
    listed = json.loads(KEYS.read_text())
    assert len(listed) == 339
    state = {name: torch.zeros(shape, dtype=getattr(torch, dtype)) for name, (shape, dtype) in listed.items()}
    torch.save({"state_dict": state}, tmp_path / "in.pt")
    found = weights.read(tmp_path / "in.pt")
    assert (found.layout, found.trunk) == ("published", "resnet50")
    assert found.missing("published") == found.surplus("published") == found.missing("own") == []
    with torch.device("meta"):
        model = build_model(Config())
    assert {name: value.shape for name, value in found.tensors.items()} == {
        name: value.shape for name, value in model.state_dict().items()
    }
    assert set(found.arranged("published")["state_dict"]) == set(listed)


def test_torchvision_and_trunk(tmp_path: Path) -> None:
    whole = torchvision.models.resnet18(weights=None).state_dict()
    torch.save(whole, tmp_path / "tv.pt")
    convert(tmp_path / "tv.pt", tmp_path / "again.pt", "torchvision", allow=False)
    assert bits(load(tmp_path / "again.pt")) == bits(whole)
    with pytest.raises(IncompleteError, match=r"2 tensors have no place in it: fc\.weight, fc\.bias"):
        convert(tmp_path / "tv.pt", tmp_path / "trunk.pt", "trunk", allow=False)
    assert not (tmp_path / "trunk.pt").exists()
    convert(tmp_path / "tv.pt", tmp_path / "trunk.pt", "trunk", allow=True)
    rest = {name: value for name, value in whole.items() if not name.startswith("fc.")}
    assert bits(load(tmp_path / "trunk.pt")) == bits(rest)
    assert weights.read(tmp_path / "trunk.pt").layout == "trunk"
    with pytest.raises(IncompleteError, match=r"2 tensors of the layout torchvision are missing: fc\.weight"):
        convert(tmp_path / "trunk.pt", tmp_path / "tv2.pt", "torchvision", allow=False)
    old = {name: value for name, value in whole.items() if "num_batches" not in name}
    torch.save(old, tmp_path / "old.pt")
    assert weights.read(tmp_path / "old.pt").counters == 20, "files of old versions lack them"
    convert(tmp_path / "old.pt", tmp_path / "new.pt", "torchvision", allow=False)
    torchvision.models.resnet18(weights=None).load_state_dict(load(tmp_path / "new.pt"))


def test_missing_and_surplus_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = published(small())
    del state["module.l2g_prototypes.weight"], state["module.layer1.0.bn1.weight"]
    state["module.extra.weight"] = torch.ones(1)
    torch.save({"state_dict": state}, tmp_path / "in.pt")
    assert main([str(tmp_path / "in.pt"), str(tmp_path / "out.pt")]) == 2
    out = capsys.readouterr().out
    assert "2 tensors of the layout own are missing: trunk.layer1.0.bn1.weight, l2g_prototypes.weight" in out
    assert "1 tensors have no place in it: extra.weight" in out and "--allow" in out
    assert not (tmp_path / "out.pt").exists()
    assert main([str(tmp_path / "in.pt"), str(tmp_path / "out.pt"), "--allow", "--keys"]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in state) and "missing" in out and "excluded" in out
    assert main([str(tmp_path / "in.pt"), str(tmp_path / "out.pt"), "--allow"]) == 2
    assert "exists already, and nothing is overwritten" in capsys.readouterr().out


class Own:
    """What no file of weights should bring along."""


def test_what_is_no_network(tmp_path: Path) -> None:
    state = published(small())
    wide = {
        name: torch.zeros(2 * len(value), *value.shape[1:]) if value.ndim else value for name, value in state.items()
    }
    for name, content, message in (
        ("object", {"state_dict": {}, "x": Own()}, "holds more than weights, which is not loaded for safety: .*GLOBAL"),
        ("wide", {"state_dict": wide}, r"another architecture than small, resnet18.*nearest is"),
        ("text", {"state_dict": {"a": "b"}}, "a is no tensor"),
        ("list", [1, 2], "holds a list, not weights by name"),
        ("other", {"a": torch.ones(1)}, "another architecture"),
    ):
        torch.save(content, tmp_path / name)
        with pytest.raises(CheckpointError, match=message) as error:
            weights.read(tmp_path / name)
        assert str(tmp_path / name) in str(error.value)
    (tmp_path / "noise").write_bytes(b"no checkpoint")
    with pytest.raises(CheckpointError, match="is damaged, or holds more"):
        weights.read(tmp_path / "noise")
    with pytest.raises(CheckpointError, match="does not exist"):
        find(tmp_path / "gone")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for n in range(16):
        save(tmp_path / "photos" / f"{n:02d}.jpg", n)
    return tmp_path / "photos"


def run(photos: Path, init: Path | None, seed: int = 5, **model: object) -> Config:
    model = {"init": str(init) if init else None, **model}
    data, queue = {"name": "folder", "workers": 0}, {"length": 0, "local_length": 0}
    return pinned(settings(photos, data=data, queue=queue, model=model, optim={"epochs": 1}, seed=seed))


def test_a_run_starts_from_any_layout(tmp_path: Path, photos: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The same weights in another layout, in another place: the same result, to the bit."""
    torch.save({"state_dict": published(small(), seed=4)}, tmp_path / "published.pt")
    convert(tmp_path / "published.pt", tmp_path / "own.pt", "own", allow=False)
    convert(tmp_path / "own.pt", tmp_path / "trunk.pt", "trunk", allow=True)
    ends = {}
    for name in ("published", "own", "trunk"):
        with caplog.at_level("INFO", "golang"):
            train(run(photos, tmp_path / f"{name}.pt"), tmp_path / name, show_progress=False)
        ends[name] = final_state(tmp_path / name)["model"]
    train(run(photos, None), tmp_path / "fresh", show_progress=False)
    assert differences(ends["published"], ends["own"]) == []
    for name in ("trunk.conv1.weight", "prototypes.weight"):
        assert not torch.equal(ends["own"][name], final_state(tmp_path / "fresh")["model"][name])
    assert "78 tensors start from" in caplog.text and "fresh: l2g_prototypes, local_projection_head" in caplog.text
    convert(tmp_path / "own", tmp_path / "from-run.pt", "published", allow=False)  # a run's folder
    assert bits(weights.read(tmp_path / "from-run.pt").tensors) == bits(ends["own"])


def test_several_ranks_start_from_the_same_weights(tmp_path: Path, photos: Path) -> None:
    """And a run that goes on needs the file no more."""
    torch.save({"state_dict": published(small(), seed=4)}, tmp_path / "init.pt")
    config = run(photos, tmp_path / "init.pt")
    config = replace(config, precision="fp64")
    train(config, tmp_path / "alone", show_progress=False)
    assert launch(config, tmp_path / "two", ranks=2) == [0, 0]
    alone, two = final_state(tmp_path / "alone")["model"], final_state(tmp_path / "two")["model"]
    assert differences(alone, two, tolerance=1e-9) == []


def test_what_does_not_fit_is_refused(tmp_path: Path, photos: Path) -> None:
    torch.save({"state_dict": published(small())}, tmp_path / "init.pt")
    with pytest.raises(CheckpointError, match=r"prototypes\.weight is \[12, 16\] there and \[13, 16\] here"):
        train(run(photos, tmp_path / "init.pt", prototypes=13), tmp_path / "a", show_progress=False)
    torch.save(torchvision.models.resnet18(weights=None).state_dict(), tmp_path / "tv.pt")
    with pytest.raises(CheckpointError, match=r"its trunk is resnet18, and model\.trunk=small"):
        train(run(photos, tmp_path / "tv.pt"), tmp_path / "b", show_progress=False)
    config = run(photos, tmp_path / "init.pt")
    torch.save({"state_dict": published(small(), seed=9)}, tmp_path / "init.pt")
    with pytest.raises(CheckpointError, match="has changed since this run was set up"):
        train(config, tmp_path / "c", show_progress=False)


def test_identity_counts_the_content(tmp_path: Path, photos: Path) -> None:
    torch.save({"a": 1}, tmp_path / "init.pt")
    (tmp_path / "copy.pt").write_bytes((tmp_path / "init.pt").read_bytes())
    torch.save({"a": 2}, tmp_path / "other.pt")
    one, copy, other = (run(photos, tmp_path / f"{name}.pt") for name in ("init", "copy", "other"))
    assert run_id(one) == run_id(copy) != run_id(other)
    assert run_id(run(photos, None)) not in (run_id(one), run_id(other))
    assert set(result_settings(one)) - set(result_settings(run(photos, None))) == {"model.init_sha256"}
    one = identified(one)
    assert read(one.to_dict())[0] == one
    (tmp_path / "init.pt").unlink()
    assert Config.from_dict(one.to_dict()) == pinned(one) == one, "frozen settings need no file"
    with pytest.raises(ConfigError, match=r"model\.init=.*gone\.pt is no file"):
        run(photos, tmp_path / "gone.pt")
    with pytest.raises(ConfigError, match=r"needs model\.init"):
        pinned(Config.from_dict({"model": {"init_sha256": "00"}}))
