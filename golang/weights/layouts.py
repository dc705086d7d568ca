"""Network weights in the layouts of the world, read into this project's names and written from them.

    own          trunk.*, heads, prototypes; a run's checkpoint, or sealed `model` alone
    published    the trunk's, heads, prototypes (339 for ResNet-50) with `module.`, as `state_dict`
    swav         the trunk's, projection_head, prototypes with `module.`, as `state_dict` or bare
    torchvision  the trunk's and the classifier fc, bare
    trunk        the trunk's, bare
    safetensors  the trunk's, bare, as a file of safetensors

The trunk's names are torchvision's in all of them. SwAV's layout is our reading of its paper's code base: the published
one without the local branch. What other projects write is found by `golang.weights.projects`; folders that other
libraries load are written by `golang.weights.export`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from golang.disk import whole
from golang.errors import CheckpointError
from golang.weights import formats, projects, sealed
from golang.weights.architectures import trunk_shapes, which_trunk
from golang.weights.projects import Network
from golang.weights.spellings import DETECTRON2, HUGGINGFACE, TORCHVISION

Layout = Literal[
    "own", "published", "swav", "torchvision", "trunk", "safetensors", "timm", "huggingface", "detectron2", "mmdet"
]  # fmt: skip
LAYOUTS: tuple[Layout, ...] = (
    "own", "published", "swav", "torchvision", "trunk", "safetensors", "timm", "huggingface", "detectron2", "mmdet"
)  # fmt: skip
TRUNK_ALONE = ("safetensors", "timm", "huggingface", "detectron2", "mmdet")  # no place for a head; never in part
PREFIX = "module."  # what DistributedDataParallel puts before every name
_HEAD = ("0.weight", "0.bias", "1.weight", "1.bias", "1.running_mean", "1.running_var", "1.num_batches_tracked",
         "3.weight", "3.bias")  # fmt: skip
HEADS = {
    "projection_head": _HEAD, "prototypes": ("weight",), "local_projection_head": _HEAD,
    "local_prototypes": ("weight",), "l2g_prototypes": ("weight",), "fc": ("weight", "bias"),
}  # fmt: skip
_SWAV = ("projection_head", "prototypes")
_GOLANG = (*_SWAV, "local_projection_head", "local_prototypes", "l2g_prototypes")
_PARTS = {"published": _GOLANG, "swav": _SWAV, "torchvision": ("fc",)}  # beside the trunk
_PREFIXES = {"published": PREFIX, "swav": PREFIX, "mmdet": "backbone."}  # of files that hold a `state_dict`
_SPELLINGS = {"huggingface": HUGGINGFACE, "detectron2": DETECTRON2}
COUNTER = "num_batches_tracked"


@dataclass(frozen=True)
class Weights:
    """Tensors by this project's names: trunk.*, those of HEADS, and under `unknown` whatever else there was."""

    layout: Layout  # that they were found in; of another project's file, the nearest
    trunk: str  # which of TRUNKS
    tensors: dict[str, Tensor]
    unknown: dict[str, Tensor]
    beside: tuple[str, ...]  # what else the file holds, which no other layout has a place for
    counters: int  # of batch norm that old files lack, set to 0
    names: dict[str, str]  # in the file, of each in `tensors` and `unknown` that it holds
    origin: str  # whose layout it is, as a person says it
    said: str  # about the choice between several networks; "" where there was none

    def missing(self, layout: Layout) -> list[str]:
        """The names that `layout` should have and these weights don't."""
        wanted = [f"trunk.{name}" for name in trunk_shapes(self.trunk)]
        wanted += [f"{head}.{name}" for head in self._heads(layout) for name in HEADS[head]]
        return [name for name in wanted if name not in self.tensors]

    def surplus(self, layout: Layout) -> list[str]:
        """The names that `layout` has no place for."""
        parts = {"trunk", *self._heads(layout)}
        return [name for name in self.tensors if name.partition(".")[0] not in parts] + list(self.unknown)

    def _heads(self, layout: Layout) -> tuple[str, ...]:
        if layout == "own":  # a network of either method
            layout = "published" if any(name.startswith(("local_", "l2g_")) for name in self.tensors) else "swav"
        return _PARTS.get(layout, ())

    def arranged(self, layout: Layout) -> dict[str, Any]:
        """What a file of `layout` holds; without what it has no place for."""
        surplus = set(self.surplus(layout))
        kept = {name_in(layout, name): value for name, value in self.tensors.items() if name not in surplus}
        if layout == "own":
            return {"layout": "own", "trunk": self.trunk, "model": kept}
        return {"state_dict": kept} if layout in _PREFIXES else kept


def name_in(layout: Layout, name: str) -> str:
    """What one of our names is in a file of `layout`."""
    if layout == "own":
        return name
    spelling = _SPELLINGS.get(layout, TORCHVISION)
    return _PREFIXES.get(layout, "") + spelling.of(name.removeprefix("trunk."))


def read(path: Path, take: str | None = None) -> Weights:
    """The weights in a file of any layout, of this project or another. Of several networks that it holds, the one is
    read that its project hands on, or the one on whose way in the file the words `take` are.

    Raises CheckpointError for a file that is damaged, holds other things than weights or several networks of equal
    standing, or whose trunk is of another architecture than TRUNKS.
    """
    content = formats.load(path)
    if not isinstance(content, Mapping) or not all(isinstance(name, str) for name in content):
        raise CheckpointError(f"{path} holds a {type(content).__name__}, not weights by name")
    found = projects.find(content, take, path)
    network = found.network
    state, beside = projects.beside(content, network)
    odd = [name for name, value in state.items() if not isinstance(value, Tensor)]
    if len(odd) == len(state):
        why = f"{odd[0]} is no tensor" if odd else "it is empty"
        raise CheckpointError(f"{path} holds no network's weights: {why}")
    heads = {f"{head}.{name}" for head, names in HEADS.items() for name in names if found.classifier or head != "fc"}
    ours = {there: _our_name(there, network, heads) for there, value in state.items() if isinstance(value, Tensor)}
    tensors = {name: state[there] for there, name in ours.items() if name}
    left = {there: network.shortened(there) for there, name in ours.items() if not name}
    left = {there: name if name not in state else there for there, name in left.items()}
    surplus = [network.inside(there) for there in left if network.inside(there).startswith(network.spelling.rooms)]
    known = {name.removeprefix("trunk."): value for name, value in tensors.items() if name.startswith("trunk.")}
    trunk = which_trunk(known, path, surplus, state)
    counters = [f"trunk.{name}" for name in trunk_shapes(trunk) if name.endswith(COUNTER)]
    lacking = [] if any(name in tensors for name in counters) else counters
    tensors |= {name: torch.zeros((), dtype=torch.int64) for name in lacking}
    own = network.native and network.prefix.endswith("trunk.")
    layout: Layout = "own" if own else _layout(name for name in tensors if name in heads)
    origin = found.project or (layout if network.native else f"{network.spelling.name}'s names at {network}")
    return Weights(
        layout, trunk, tensors, unknown={name: state[there] for there, name in left.items()},
        beside=(*(name for name in beside if not own or name not in ("layout", "trunk")), *odd),
        counters=len(lacking), names={name or left[there]: there for there, name in ours.items()},
        origin=origin, said=found.said,
    )  # fmt: skip


def _our_name(there: str, network: Network, heads: Collection[str]) -> str:
    """What a tensor of a file is called here; "" for one that is neither of the trunk nor of `heads`."""
    if name := network.spelling.ours.get(network.inside(there)):
        return f"trunk.{name}"
    return short if (short := network.shortened(there)) in heads and there.startswith(network.base) else ""


def write(path: Path, weights: Weights, layout: Layout) -> None:
    """Writes a file of `layout`, whole or not at all. Raises CheckpointError if there is a file already, or none can be
    written."""
    if path.exists():
        raise CheckpointError(f"{path} exists already, and nothing is overwritten; choose another name or delete it")
    encode = {"own": sealed.encode, "safetensors": formats.put_safetensors}.get(layout, torch.save)
    content = weights.arranged(layout)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        whole.put(path, lambda file: encode(content, file))
    except OSError as error:
        raise CheckpointError(f"{path} can't be written: {error.strerror}") from error


def load_into(model: nn.Module, path: Path) -> str:
    """Starts `model` (SwAV or GOLANG) from the weights in a file: the trunk, and every head that both have. Heads that
    the file lacks stay as they are. Returns what was done, as a sentence.

    Raises CheckpointError, before anything is changed, for a trunk or a head that is incomplete or of other sizes.
    """
    weights, own = read(path), model.state_dict()
    parts, ours = ({name.partition(".")[0] for name in names} for names in (weights.tensors, own))
    wanted = {name: value for name, value in own.items() if name.partition(".")[0] in parts}
    here = which_trunk({key.removeprefix("trunk."): value for key, value in own.items()}, path)
    if weights.trunk != here:
        raise CheckpointError(
            f"model.init={path} does not fit: its trunk is {weights.trunk}, and model.trunk={here}; set "
            f"model.trunk={weights.trunk}, or give a checkpoint of a {here}"
        )
    remedy = f"`python -m golang.weights {path} OUT --to trunk --allow` keeps the trunk alone"
    missing = [name for name in wanted if name not in weights.tensors]
    odd = [name for name in weights.unknown if name.partition(".")[0] in ours & parts]
    if missing or odd:
        remedy = "give a file that has all of it" if any(name.startswith("trunk.") for name in missing) else remedy
        what = f"lacks {some(missing)}" if missing else f"holds {some(odd)}, which no network here has"
        raise CheckpointError(f"model.init={path} does not fit: its {weights.trunk} {what}; {remedy}")
    for name, value in wanted.items():
        if value.shape != weights.tensors[name].shape:
            raise CheckpointError(
                f"model.init={path} does not fit: {name} is {list(weights.tensors[name].shape)} there and "
                f"{list(value.shape)} here; set model.trunk, model.hidden_dim, model.feature_dim, model.prototypes and "
                f"model.local_prototypes to its sizes (its trunk is {weights.trunk}), or {remedy}"
            )
    model.load_state_dict(own | {name: weights.tensors[name] for name in wanted})
    others = {name.removeprefix(PREFIX).partition(".")[0] for name in weights.unknown}
    fresh, left = sorted(ours - parts), sorted((parts | others) - ours)
    said = f"{len(wanted)} tensors start from {path} ({weights.origin} layout)"
    said += f"; {weights.said}" if weights.said else ""
    said += f"; fresh: {', '.join(fresh)}" if fresh else ""
    return said + (f"; excluded: {', '.join(left)}" if left else "")


def _layout(heads: Iterable[str]) -> Layout:
    parts = {name.partition(".")[0] for name in heads}
    if parts & (set(_GOLANG) - set(_SWAV)):
        return "published"
    if parts & set(_SWAV):
        return "swav"
    return "torchvision" if "fc" in parts else "trunk"


def some(names: Iterable[str], most: int = 3) -> str:
    """The first names of many."""
    found = list(names)
    return ", ".join(found[:most]) + (f" and {len(found) - most} more" if len(found) > most else "")
