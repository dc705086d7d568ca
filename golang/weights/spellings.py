"""How a ResNet's tensors are named: torchvision's way, which is this project's, and three others'."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass

from golang.method.trunk import TRUNKS
from golang.weights.architectures import ROOMS, trunk_shapes

_STAGES = (1, 2, 3, 4)


@dataclass(frozen=True)
class Spelling:
    """A way to name the tensors, as rules that make its names of torchvision's, each in its turn."""

    name: str
    rooms: tuple[str, ...]  # what the names begin with
    rules: tuple[tuple[str, str], ...]  # (regular expression, what takes its place)

    def of(self, name: str) -> str:
        """What torchvision's name of a tensor is here."""
        for pattern, replacement in self.rules:
            name = re.sub(pattern, replacement, name)
        return name

    @functools.cached_property
    def ours(self) -> dict[str, str]:
        """torchvision's name for each name that a trunk of this project has here."""
        return {self.of(name): name for trunk in TRUNKS for name in trunk_shapes(trunk)}


TORCHVISION = Spelling("torchvision", ROOMS, ())
# The children of a torchvision network, by number: 2 and 3 are ReLU and pooling, which hold nothing.
SEQUENTIAL = Spelling(
    "sequential",
    ("0.", "1.", "4.", "5.", "6.", "7."),
    ((r"^conv1\.", "0."), (r"^bn1\.", "1."), *((rf"^layer{stage}\.", f"{stage + 3}.") for stage in _STAGES)),
)
HUGGINGFACE = Spelling(
    "huggingface",
    ("embedder.", "encoder."),
    (
        (r"^conv1\.", "embedder.embedder.convolution."),
        (r"^bn1\.", "embedder.embedder.normalization."),
        *((rf"^layer{stage}\.", f"encoder.stages.{stage - 1}.layers.") for stage in _STAGES),
        *((rf"\.conv{number}\.", f".layer.{number - 1}.convolution.") for number in (1, 2, 3)),
        *((rf"\.bn{number}\.", f".layer.{number - 1}.normalization.") for number in (1, 2, 3)),
        (r"\.downsample\.0\.", ".shortcut.convolution."),
        (r"\.downsample\.1\.", ".shortcut.normalization."),
    ),
)
DETECTRON2 = Spelling(
    "detectron2",
    ("stem.", "res2.", "res3.", "res4.", "res5."),
    (
        (r"^conv1\.", "stem.conv1."),
        (r"^bn1\.", "stem.conv1.norm."),
        *((rf"^layer{stage}\.", f"res{stage + 1}.") for stage in _STAGES),
        (r"\.bn(\d)\.", r".conv\1.norm."),
        (r"\.downsample\.0\.", ".shortcut."),
        (r"\.downsample\.1\.", ".shortcut.norm."),
    ),
)
SPELLINGS = (TORCHVISION, SEQUENTIAL, HUGGINGFACE, DETECTRON2)
