"""The card of an export: what a run says of itself, and nothing that nobody knows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import timm
import torch
import yaml

from golang.config import Config
from golang.config.identity import run_id
from golang.method.model import build_model
from golang.runfolder.folder import RunFolder
from golang.weights import sealed
from golang.weights.__main__ import convert, main
from tests.unit.test_projects import trunk


def test_the_card_tells_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sizes = {"trunk": "resnet18", "hidden_dim": 8, "feature_dim": 8, "prototypes": 4, "local_prototypes": 4}
    config = Config.from_dict({"data": {"name": "folder", "root": "/secret"}, "model": sizes, "seed": 12})
    run = RunFolder.create(tmp_path / "run", config)
    file = run.checkpoints / "step_00000234.a00.pt"
    model = build_model(config)
    facts = {"config": config.to_dict(), "step": 234, "fingerprint": {"images": 5000}, "model": model.state_dict()}
    sealed.write(file, facts)
    for name, checkpoint, points in (("linear_coco", str(file), 55.125), ("knn", "step_00000100.a00.pt", 1.5)):
        (run.evaluation / name).mkdir(parents=True)
        (run.evaluation / name / "result.json").write_text(json.dumps({"checkpoint": checkpoint, "mAP": points}))
    run.probe_file.write_text(json.dumps({"checkpoint": file.name, "mAP": 33.8}))
    assert main([str(file), str(tmp_path / "out"), "--to", "timm"]) == 0, "heads have no place in it by its nature"
    assert "own → timm, resnet18" in (out := capsys.readouterr().out) and "prototypes" in out and "excluded" in out
    card = (tmp_path / "out/README.md").read_text()
    front = yaml.safe_load(card.split("---\n")[1])
    assert (front["library_name"], front["license"]) == ("timm", "other")
    for line in (
        "# resnet18, pre-trained with GOLANG on folder", "| method | GOLANG |", "| images | 5000 |", "| epochs | 400 |",
        "| steps | 234 |", "| batch size | 128 images, over all GPUs |", "| seed | 12 |",
        f"| run | `{run_id(config)}` |",
        "| mAP, linear_coco | 55.12 |", "| mAP, quick linear probe | 33.80 |", "## Licence",
        'timm.create_model("local-dir:out", pretrained=True)', "It was trained with these numbers.",
    ):  # fmt: skip
        assert line in card, line
    assert "knn" not in card, "of another checkpoint"
    assert "/secret" not in card and str(tmp_path) not in card
    loaded = timm.create_model(f"local-dir:{tmp_path / 'out'}", pretrained=True).state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in model.trunk.state_dict().items())


def test_the_card_of_a_foreign_file_claims_nothing(tmp_path: Path) -> None:
    torch.save({"state_dict": {f"module.encoder_q.{k}": v for k, v in trunk("resnet18").items()}}, tmp_path / "in.pt")
    convert(tmp_path / "in.pt", tmp_path / "out", "huggingface", allow=False)
    card = (tmp_path / "out/README.md").read_text()
    assert "a file of the layout MoCo" in card and "their file does not say" in card and "GOLANG" not in card
