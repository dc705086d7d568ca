"""`python -m benchmarks.transfer`: what a step of fine-tuning holds and computes, on a small trunk."""

from __future__ import annotations

import json

import pytest

from benchmarks import transfer
from golang.evaluation.transfer.detection import build_detector
from golang.evaluation.transfer.numbers import PROTOCOLS
from golang.evaluation.transfer.segmentation import build_segmenter
from golang.memory.trace import CUBLAS
from golang.method.trunk import build_trunk

SIDE = 64


@pytest.mark.parametrize("name", PROTOCOLS)
def test_a_step_grows_with_its_images(name: str) -> None:
    protocol = PROTOCOLS[name]
    size = transfer.largest(protocol, SIDE)
    one, two, three = (transfer.measure(protocol, "small", [size] * images) for images in (2, 3, 6))
    assert one.peak_of(two, 6) == pytest.approx(three.peak / transfer.GIB, rel=0.03)
    assert three.operations == pytest.approx(3 * one.operations, rel=0.02)
    build = build_segmenter if protocol.network == "fcn" else build_detector
    masks = [] if protocol.network == "fcn" else [protocol.network == "fpn"]
    network = build(protocol, build_trunk("small"), transfer.CLASSES[name], *masks)  # type: ignore[operator]
    weights = sum(parameter.nbytes for parameter in network.parameters())
    buffers = sum(buffer.nbytes for buffer in network.buffers())
    assert one.lasting == 2 * weights + buffers + CUBLAS, "weights, momentum, statistics, workspace"
    if protocol.network == "fcn":
        assert transfer.traced(protocol, "small", [size] * 6) == three.peak / transfer.GIB
    assert one.lasting < one.peak < two.peak < three.peak


def test_an_upright_image_among_wide_ones_costs_more() -> None:
    protocol = PROTOCOLS["detect_coco"]
    height, width = transfer.largest(protocol, SIDE)
    assert (height, width) == (64, 107) and transfer.largest(PROTOCOLS["segment_voc"], None) == (512, 512)
    wide, mixed = (
        transfer.measure(protocol, "small", [(height, width), other]) for other in ((height, width), (width, height))
    )
    assert mixed.operations > 1.1 * wide.operations and mixed.peak > wide.peak, "both are padded to the larger sides"


def test_the_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["transfer", "segment_voc", "--trunk", "small", "--side", str(SIDE)])
    transfer.main()
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["bench"] == "transfer" and set(found["segment_voc"]) >= {
        "seconds",
        "tflop",
        "peak_gib_2",
        "peak_gib_16",
    }
    assert 0 < found["segment_voc"]["peak_gib_2"] < found["segment_voc"]["peak_gib_16"]
