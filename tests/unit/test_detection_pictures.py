"""Pictures of what detectors and segmentations found."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from golang.config import Config
from golang.data.images import ImageSet
from golang.data.objects.segments import Segments
from golang.data.toy.write import write
from golang.evaluation.pictures import __main__ as show
from golang.evaluation.pictures import detections, segments
from golang.evaluation.pictures.extremes import extremes
from golang.evaluation.transfer.build import build_task
from golang.evaluation.transfer.networks.types import Detections
from golang.evaluation.transfer.scores.results import Results
from golang.evaluation.transfer.tuned import load_network
from golang.method.trunk import build_trunk
from golang.weights import sealed
from tests.unit.scenes import CLASSES, generated, picture

pytest.importorskip("matplotlib")


class Maps(Segments):
    """Maps that lie in memory."""

    maps: list[np.ndarray]

    def of(self, index: int) -> np.ndarray:
        return self.maps[index]


def colours(path: Path) -> set[tuple[int, int, int]]:
    with Image.open(path) as image:
        return {color for _, color in image.convert("RGB").getcolors(2**24) or []}  # type: ignore[misc]


def test_the_worst_and_the_best() -> None:
    points = np.array([50.0, math.nan, 10.0, 90.0, 10.0])
    assert extremes(points, 2) == ([2, 4], [3, 0])
    assert extremes(points, 10) == ([2, 4], [3, 0]), "none twice"
    assert extremes(np.array([math.nan])) == ([], [])
    assert extremes(np.array([1.0])) == ([0], [])


def test_detections_beside_the_truth(tmp_path: Path) -> None:
    pytest.importorskip("faster_coco_eval")
    objects, found = generated(5, 8, tmp_path)
    results = Results.joined([Results.of(image, one) for image, one in enumerate(found)], masked=True)
    written = detections.write(objects, results, tmp_path / "out")
    assert [path.name for path in written] == ["detections-worst.png", "detections-best.png"]
    boxes = Results(*list(results.state().values())[:4])
    plain = detections.write(objects, boxes, tmp_path / "boxes")
    assert all(one.stat().st_size > 20_000 for one in (*written, *plain))
    assert written[0].read_bytes() != plain[0].read_bytes(), "masks are drawn where there are any"
    assert detections.write(objects, Results.none(masked=False), tmp_path / "none")[0].is_file()


def test_detections_of_one_image(tmp_path: Path) -> None:
    objects, found = generated(6, 4)
    index = int(np.argmax([len(one.scores) for one in found]))
    path = detections.draw(picture(objects, index), found[index]._replace(masks=None), CLASSES, tmp_path / "one.png")
    assert any(color in colours(path) for color in ((0xE6, 0x9F, 0x00), (0x56, 0xB4, 0xE9))), "Okabe and Ito's"
    none = Detections(*(one[:0] for one in found[index]))
    assert detections.draw(picture(objects, index), none, CLASSES, tmp_path / "none.png").is_file()


def test_maps_beside_the_truth(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    truths = [np.kron(rng.integers(0, 4, (3, 4)), np.ones((20, 20), int)).astype(np.uint8) for _ in range(3)]
    truths[0][:10] = 255
    for number, truth in enumerate(truths):
        Image.fromarray(np.repeat(truth[..., None] // 2, 3, -1)).save(tmp_path / f"{number}.png")
    images = ImageSet.of(tmp_path, [f"{number}.png" for number in range(3)])
    maps = Maps(images, np.tile(np.array([80, 60], np.int32), (3, 1)), ("background", "cat", "dog", "bus"))
    object.__setattr__(maps, "maps", truths)
    found = [np.roll(truth % 4, 7, 1).astype(np.int64) for truth in truths]
    written = segments.write(maps, np.array([30.0, 10.0, 60.0]), found.__getitem__, tmp_path / "out")
    assert [path.name for path in written] == ["segments-worst.png", "segments-best.png"]
    alone = segments.draw(maps.images.load(0), found[0], maps.classes, tmp_path / "one.png")
    assert {(0xE6, 0x9F, 0x00), (0x56, 0xB4, 0xE9)} <= colours(alone), "the legend's"
    assert segments.draw(maps.images.load(0), np.zeros((60, 80), np.int64), maps.classes, tmp_path / "no.png").is_file()


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoints as evaluations on a generated set keep them, of networks that have learned nothing."""
    folder = tmp_path_factory.mktemp("tuned")
    values = {"name": "toy", "root": str(folder / "toy"),
              "toy": {"classes": 5, "size": 64, "train": 6, "val": 3, "seed": 1}}  # fmt: skip
    write(folder / "toy", Config.from_dict({"data": values}).data.toy, workers=1)
    for name in ("detect", "segment"):
        config = Config.from_dict({"data": values, "evaluation": {"protocol": name, "checkpoint": "trunk.pt"}})
        task = build_task(config, build_trunk("small"), "small", torch.float32)
        if name == "detect":  # all but sure of something everywhere
            torch.nn.init.normal_(task.network.roi_heads.box_predictor.cls_score.weight, std=2.0)
        state = {"task": task.description(), "network": task.network.state_dict()}
        sealed.write(folder / f"{name}.pt", state)
    return folder


@pytest.mark.parametrize(("what", "name"), [("detections", "detect"), ("segments", "segment")])
def test_images_of_ones_own(
    tuned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], what: str, name: str
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (48, 80, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "a $ in its name.png")
    images, out = [str(tmp_path / "a $ in its name.png")], str(tmp_path / "out")
    assert show.main([what, str(tuned / f"{name}.pt"), *images, "--out", out]) == 0
    assert capsys.readouterr().out.split("\n")[0] == f"{out}/a $ in its name-{what}.png"
    with Image.open(f"{out}/a $ in its name-{what}.png") as drawn:
        assert drawn.width == 960
    network = load_network(tuned / f"{name}.pt")
    state = sealed.read(tuned / f"{name}.pt")["network"]
    assert all(torch.equal(value, state[key]) for key, value in network.network.state_dict().items())
    assert not network.network.training and len(network.classes) == (5 if name == "detect" else 6)


def test_what_cannot_be_drawn(tuned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sealed.write(tmp_path / "other.pt", {"model": {}})
    Image.new("RGB", (20, 20)).save(tmp_path / "a.png")
    for command, message in (
        (["detections", str(tuned / "segment.pt"), str(tmp_path / "a.png")], "finds segments; `golang show segments"),
        (["segments", str(tmp_path / "other.pt"), str(tmp_path / "a.png")], "is of no network for detection or"),
        (["segments", str(tuned / "segment.pt"), str(tmp_path / "b.png")], "b.png cannot be shown"),
    ):
        assert show.main([*command, "--out", str(tmp_path / "out")]) == 2
        assert message in capsys.readouterr().out
