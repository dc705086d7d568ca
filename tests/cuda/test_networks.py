"""Detection and segmentation on CUDA in deterministic mode: no operation that torch refuses there. On a GPU where there
is one, else on the null driver, where nothing is found, so that everything asked for counts as found."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys

import pytest
import torch

from golang.sources import ROOT
from tests.cuda.null import build
from tests.cuda.trace import has_gpu

KINDS = ("A", "A published", "B", "C", "A half", "C half", "torchvision's RoIAlign")


@pytest.fixture(scope="module")
def said() -> dict[str, str]:
    environment = dict(os.environ) if has_gpu() else build.environment()
    environment |= {"PYTHONPATH": str(ROOT), "CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
    command = [sys.executable, "-m", "tests.cuda.test_networks"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.stdout, done.stderr
    found: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize("kind", KINDS[:-1])
def test_nothing_is_refused(kind: str, said: dict[str, str]) -> None:
    assert said[kind] == ""


def test_what_is_not_deterministic_would_be(said: dict[str, str]) -> None:
    assert "roi_align_backward_kernel does not have a deterministic implementation" in said[KINDS[-1]]


# ------------------------------------------------------------------------------ in the child


def attempt(kind: str) -> None:
    from golang.evaluation.transfer.networks import Target, Widths, faster_rcnn_c4, fcn, mask_rcnn, over_ranks
    from golang.method.trunk import build_trunk

    device = torch.device("cuda", 0)
    if kind == KINDS[-1]:
        x, rois = torch.rand(1, 1, 8, 8, device=device, requires_grad=True), torch.zeros(3, 5, device=device)
        torch.ops.torchvision.roi_align(x, rois, 1.0, 7, 7, 0, True).sum().backward()
        return
    trunk, widths = build_trunk("resnet50"), Widths(channels=32, features=32, regions_drawn=16).at(128)
    keys = [(0, 0, 0), (0, 0, 1)]
    images = [torch.rand(3, 128, side, device=device) for side in (96, 128)]
    if kind.startswith("C"):
        segmenter = fcn(trunk, 5, 0, channels=32, auxiliary_channels=16).to(device)
        maps = torch.zeros(2, 128, 128, dtype=torch.int64, device=device)
        with torch.autocast("cuda", torch.bfloat16, enabled="half" in kind):
            found = segmenter.losses(torch.rand(2, 3, 128, 128, device=device), maps, keys)
        over_ranks(found)[0].backward()
        segmenter.eval().segment(images[0], (256, 192))
        return
    if kind.startswith("A"):
        detector = mask_rcnn(trunk, 5, 0, widths, published="published" in kind).to(device)
    else:
        detector = faster_rcnn_c4(trunk, 5, 0, widths).to(device)
    boxes = torch.tensor([[10.0, 10, 60, 70], [5, 30, 90, 120], [20, 20, 40, 40]], device=device)
    masks = torch.ones(3, 128, 128, dtype=torch.bool, device=device)
    targets = [Target(boxes, torch.arange(3, device=device), masks[:, :, : image.shape[-1]]) for image in images]
    with torch.autocast("cuda", torch.bfloat16, enabled="half" in kind):
        found = detector.losses(images, targets, keys)
    over_ranks(found)[0].backward()
    assert all(parameter.grad is not None for parameter in detector.parameters())
    detector.eval().detect(images, [(256, 192), (256, 256)])


def everything(x: torch.Tensor) -> torch.Tensor:
    return torch.nonzero(torch.ones(x.shape)).to(x.device)


def find_everything() -> None:
    """How many elements are not zero would be read from memory that no kernel wrote."""
    from golang.evaluation.transfer.networks import roi, rpn

    where = torch.where
    for module in (roi, rpn):
        module.batched_nms = lambda boxes, *_: torch.arange(len(boxes), device=boxes.device)  # type: ignore[attr-defined]
    torch.Tensor.nonzero = everything  # type: ignore[assignment, method-assign]
    torch.where = lambda x, *more: where(x, *more) if more else everything(x).unbind(1)  # type: ignore[assignment]
    resource.setrlimit(resource.RLIMIT_DATA, (8 * 2**30, 8 * 2**30))


def main() -> None:
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    if "libnull" in os.environ.get("LD_PRELOAD", ""):
        find_everything()
    said = {}
    for kind in KINDS:
        try:
            attempt(kind)
            said[kind] = ""
        except Exception as error:
            said[kind] = f"{type(error).__name__}: {error}"
    print(json.dumps(said), flush=True)
    os._exit(0)  # what stands behind the null driver's handles is nobody's to end


if __name__ == "__main__":
    main()
