"""What a step of fine-tuning costs: `python -m benchmarks.transfer`, on a processor and without a GPU.

Of detect_coco, detect_voc and segment_voc, each with the images and sizes given, on noise. Prints the processor's
seconds a step and the GiB at the peak, by the tensors that a real step made and the rules of torch's CUDA allocator
(golang.memory), then what other batches hold. A segmentation's step is traced for them on torch's fake tensors, as a
training's is. A detector's sizes hang on what it finds, so it has no such trace; what it holds grows in proportion to
its images. What it would find once it has learned is put in its way: as many regions of objects as its heads ever see.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import timing
from golang.config.checks import TRUNK_CHANNELS
from golang.evaluation.transfer import numbers
from golang.evaluation.transfer.detection import build_detector
from golang.evaluation.transfer.networks.losses import over_ranks
from golang.evaluation.transfer.networks.types import Loss, Target
from golang.evaluation.transfer.numbers import PROTOCOLS, Protocol
from golang.evaluation.transfer.segmentation import build_segmenter
from golang.memory.allocator import replay
from golang.memory.trace import CUBLAS, Storages
from golang.method.trunk import build_trunk

GIB = 2**30
CLASSES = {"detect_coco": 80, "detect_voc": 20, "segment_voc": 21}
OBJECTS = 7  # an image, as in COCO
AGAIN = 40  # times that each object is among the proposals, for the most positive regions
BATCHES = (2, 16)  # images a GPU that are told: of a batch of 16 on 8 GPUs, and on one


@dataclass(frozen=True)
class Step:
    images: int
    seconds: float  # of the processor's, forward, backward and update
    operations: float  # 10¹² floating-point ones, of convolutions and products
    lasting: int  # bytes of weights, momentum and cuBLAS' workspace
    peak: int  # bytes that the allocator has given out at most

    def peak_of(self, other: Step, images: int) -> float:
        """GiB of so many images, on the line through two steps."""
        slope = (other.peak - self.peak) / (other.images - self.images)
        return (self.peak + slope * (images - self.images)) / GIB


def measure(protocol: Protocol, trunk: str, sizes: Sequence[tuple[int, int]]) -> Step:
    """One step on an image of noise of each (height, width)."""
    if protocol.network == "fcn":
        network, losses = _segmenter(protocol, trunk, sizes)
    else:
        network, losses = _detector(protocol, trunk, sizes)
    network.train()
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-4, momentum=numbers.MOMENTUM)
    for parameter in network.parameters():  # as from the second step on
        optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    with FlopCounterMode(display=False) as counter, Storages() as storages:
        lasting = storages.note((*network.parameters(), *network.buffers()))
        lasting += storages.note(state["momentum_buffer"] for state in optimizer.state.values())
        workspace = torch.empty(CUBLAS, dtype=torch.uint8)
        begun = time.process_time()
        total, _ = over_ranks(losses())
        total.backward()
        optimizer.step()
        seconds = time.process_time() - begun
        events = list(storages.events)
    operations = counter.get_total_flops() / 1e12
    return Step(len(sizes), seconds, operations, lasting + workspace.nbytes, replay(events).allocated)


def traced(protocol: Protocol, trunk: str, sizes: Sequence[tuple[int, int]]) -> float:
    """GiB at the peak of a segmentation's step, which computes nothing here."""
    with FakeTensorMode(allow_non_fake_inputs=True):
        return measure(protocol, trunk, sizes).peak / GIB


def _detector(protocol: Protocol, trunk: str, sizes: Sequence[tuple[int, int]]) -> tuple[Any, Callable[[], Any]]:
    network = build_detector(protocol, build_trunk(trunk), CLASSES[protocol.name], protocol.network == "fpn")
    targets = [_objects(protocol, size, number) for number, size in enumerate(sizes)]
    proposals = network.rpn.proposals

    def learned(*args: Any) -> list[Tensor]:  # noqa: ANN401 - as it is called
        found = zip(proposals(*args), targets, strict=True)
        return [torch.cat([boxes, target.boxes.repeat(AGAIN, 1)]) for boxes, target in found]

    network.rpn.proposals = learned  # type: ignore[method-assign]

    def losses() -> dict[str, Loss]:
        images = [torch.randn(3, *size) for size in sizes]
        return network.losses(images, targets, [(numbers.SEED, 0, number) for number in range(len(sizes))])

    return network, losses


def _segmenter(protocol: Protocol, trunk: str, sizes: Sequence[tuple[int, int]]) -> tuple[Any, Callable[[], Any]]:
    network = build_segmenter(protocol, build_trunk(trunk), CLASSES[protocol.name])

    def losses() -> dict[str, Loss]:
        images, maps = torch.randn(len(sizes), 3, *sizes[0]), torch.zeros(len(sizes), *sizes[0], dtype=torch.int64)
        return network.losses(images, maps, [(numbers.SEED, 0, number) for number in range(len(sizes))])

    return network, losses


def _objects(protocol: Protocol, size: tuple[int, int], number: int) -> Target:
    """Boxes of a fifth of the image's sides, filled with their objects."""
    generator, (height, width) = torch.Generator().manual_seed(number), size
    corners = torch.rand(OBJECTS, 2, generator=generator) * torch.tensor([0.8 * width, 0.8 * height])
    boxes = torch.cat([corners, corners + torch.tensor([0.2 * width, 0.2 * height])], dim=1)
    masks = torch.zeros(OBJECTS, height, width, dtype=torch.bool) if protocol.network == "fpn" else None
    if masks is not None:
        for mask, (left, top, right, bottom) in zip(masks, boxes.int().tolist(), strict=True):
            mask[top:bottom, left:right] = True
    return Target(boxes, torch.zeros(OBJECTS, dtype=torch.int64), masks)


def largest(protocol: Protocol, side: int | None) -> tuple[int, int]:
    """The most that a training image is, (height, width), or with a short side of so many pixels."""
    if protocol.network == "fcn":
        return side or protocol.side, side or protocol.side
    short = side or protocol.side
    return short, round(short * protocol.longest / protocol.side)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.transfer", description=__doc__)
    parser.add_argument("only", nargs="*", choices=[[], *PROTOCOLS], help="these alone (all)", metavar="PROTOCOL")
    parser.add_argument("--trunk", choices=TRUNK_CHANNELS, default="resnet50")
    parser.add_argument("--images", type=int, nargs=2, default=(1, 2), help="of two steps (1 2)")
    parser.add_argument("--side", type=int, help="pixels of the images' short side (the protocols' largest)")
    parser.add_argument("--mixed", action="store_true", help="padded as wide images beside upright ones are")
    options = parser.parse_args()
    rows, found = list[Sequence[object]](), dict[str, Any]()
    for name in options.only or PROTOCOLS:
        protocol = PROTOCOLS[name]
        size = largest(protocol, options.side)
        if options.mixed:
            size = max(size), max(size)
        first, second = (measure(protocol, options.trunk, [size] * images) for images in options.images)
        told = {f"peak_gib_{images}": round(first.peak_of(second, images), 2) for images in BATCHES}
        if protocol.network == "fcn":
            told = {
                f"peak_gib_{images}": round(traced(protocol, options.trunk, [size] * images), 2) for images in BATCHES
            }
        for step in (first, second):
            shown = (step.seconds, step.operations, step.lasting / GIB, step.peak / GIB)
            rows.append((name, step.images, f"{size[0]} × {size[1]}", *shown))
        own = {"seconds": round(second.seconds, 2), "tflop": round(second.operations, 3), "images": second.images}
        found[name] = own | told
    title = f"{options.trunk}, fp32, one step on {timing.device_name(torch.device('cpu'))}, torch {torch.__version__}"
    timing.table(title, ["protocol", "images", "pixels", "CPU s", "TFLOP", "GiB lasting", "GiB at the peak"], rows)
    timing.table(
        "GiB at the peak, traced of a segmentation, of others by the line through both steps",
        ["protocol", *(f"{images} images a GPU" for images in BATCHES)],
        [(name, *(found[name][f"peak_gib_{images}"] for images in BATCHES)) for name in found],
    )
    print(
        json.dumps({"bench": "transfer", "trunk": options.trunk, "side": options.side, "mixed": options.mixed, **found})
    )


if __name__ == "__main__":
    main()
