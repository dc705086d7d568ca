"""Network weights in the layouts of the world, read into this project's names and written from them.

    own          trunk.*, heads, prototypes; a run's checkpoint, or sealed `model` alone
    published    the trunk's, heads, prototypes (339 for ResNet-50) with `module.`, as `state_dict`
    swav         the trunk's, projection_head, prototypes with `module.`, as `state_dict` or bare
    torchvision  the trunk's and the classifier fc, bare
    trunk        the trunk's, bare

The trunk's names are torchvision's in all of them. SwAV's layout is our reading of its paper's code base: the published
one without the local branch. Files are read with `weights_only`; of Python's objects they may hold only the NumPy
scalar that published files carry as their learning rate.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from golang.errors import CheckpointError
from golang.method.trunk import TRUNKS, build_trunk
from golang.runfolder import checkpoints, files
from golang.weights import sealed

Layout = Literal["own", "published", "swav", "torchvision", "trunk"]
LAYOUTS: tuple[Layout, ...] = ("own", "published", "swav", "torchvision", "trunk")
PREFIX = "module."  # what DistributedDataParallel puts before every name
_HEAD = ("0.weight", "0.bias", "1.weight", "1.bias", "1.running_mean", "1.running_var", "1.num_batches_tracked",
         "3.weight", "3.bias")  # fmt: skip
HEADS = {
    "projection_head": _HEAD, "prototypes": ("weight",), "local_projection_head": _HEAD,
    "local_prototypes": ("weight",), "l2g_prototypes": ("weight",), "fc": ("weight", "bias"),
}  # fmt: skip
_SWAV = ("projection_head", "prototypes")
_GOLANG = (*_SWAV, "local_projection_head", "local_prototypes", "l2g_prototypes")
_PARTS = {"published": _GOLANG, "swav": _SWAV, "torchvision": ("fc",), "trunk": ()}  # beside the trunk
_PREFIXED = ("published", "swav")
COUNTER = "num_batches_tracked"


@dataclass(frozen=True)
class Weights:
    """Tensors by this project's names: trunk.*, those of HEADS, and under `unknown` whatever else there was."""

    layout: Layout  # that they were found in
    trunk: str  # which of TRUNKS
    tensors: dict[str, Tensor]
    unknown: dict[str, Tensor]
    beside: tuple[str, ...]  # what else the file holds, which no other layout has a place for
    counters: int  # of batch norm that old files lack, set to 0

    def missing(self, layout: Layout) -> list[str]:
        """The names that `layout` should have and these weights don't."""
        wanted = [f"trunk.{name}" for name in _trunk_shapes(self.trunk)]
        wanted += [f"{head}.{name}" for head in self._heads(layout) for name in HEADS[head]]
        return [name for name in wanted if name not in self.tensors]

    def surplus(self, layout: Layout) -> list[str]:
        """The names that `layout` has no place for."""
        parts = {"trunk", *self._heads(layout)}
        return [name for name in self.tensors if name.partition(".")[0] not in parts] + list(self.unknown)

    def _heads(self, layout: Layout) -> tuple[str, ...]:
        if layout == "own":  # a network of either method
            layout = "published" if any(name.startswith(("local_", "l2g_")) for name in self.tensors) else "swav"
        return _PARTS[layout]

    def arranged(self, layout: Layout) -> dict[str, Any]:
        """What a file of `layout` holds; without what it has no place for."""
        surplus = set(self.surplus(layout))
        kept = {name_in(layout, name): value for name, value in self.tensors.items() if name not in surplus}
        if layout == "own":
            return {"layout": "own", "trunk": self.trunk, "model": kept}
        return {"state_dict": kept} if layout in _PREFIXED else kept


def name_in(layout: Layout, name: str) -> str:
    """What one of our names is in a file of `layout`."""
    if layout == "own":
        return name
    return (PREFIX if layout in _PREFIXED else "") + name.removeprefix("trunk.")


def read(path: Path) -> Weights:
    """The weights in a file of any layout.

    Raises CheckpointError for a file that is damaged, holds other things than weights, or whose trunk is of another
    architecture than TRUNKS.
    """
    state, beside = _unwrapped(_load(path), path)
    odd = [name for name, value in state.items() if not isinstance(value, Tensor)]
    if odd or not state:
        why = f"{odd[0]} is no tensor" if odd else "it is empty"
        raise CheckpointError(f"{path} holds no network's weights: {why}")
    prefixed = sum(name.startswith(PREFIX) for name in state)
    if prefixed not in (0, len(state)):
        raise CheckpointError(f"{path}: {prefixed} of {len(state)} names begin with {PREFIX!r}; all or none should")
    state = {name.removeprefix(PREFIX): value for name, value in state.items()}
    own = any(name.startswith("trunk.") for name in state)
    known_heads = {f"{head}.{name}" for head, names in HEADS.items() for name in names}
    heads = {name: value for name, value in state.items() if name in known_heads}
    rest = {name.removeprefix("trunk."): value for name, value in state.items() if name not in heads}
    trunk = _which_trunk(rest, path)
    shapes = _trunk_shapes(trunk)
    known = {f"trunk.{name}": value for name, value in rest.items() if name in shapes}
    unknown = {name: value for name, value in rest.items() if name not in shapes}
    counters = [name for name in shapes if name.endswith(COUNTER)]
    lacking = [] if any(name in rest for name in counters) else counters
    known |= {f"trunk.{name}": torch.zeros((), dtype=torch.int64) for name in lacking}
    layout: Layout = "own" if own else _layout(heads)
    return Weights(layout, trunk, known | heads, unknown, beside, len(lacking))


def write(path: Path, weights: Weights, layout: Layout) -> None:
    """Writes a file of `layout`, whole or not at all. Raises CheckpointError if there is a file already, or none can be
    written."""
    if path.exists():
        raise CheckpointError(f"{path} exists already, and nothing is overwritten; choose another name or delete it")
    content = weights.arranged(layout)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        files.put(path, lambda file: (sealed.encode if layout == "own" else torch.save)(content, file))
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
    here = _which_trunk({key.removeprefix("trunk."): value for key, value in own.items()}, path)
    if weights.trunk != here:
        raise CheckpointError(
            f"model.init={path} does not fit: its trunk is {weights.trunk}, and model.trunk={here}; set "
            f"model.trunk={weights.trunk}, or give a checkpoint of a {here}"
        )
    remedy = f"`python -m golang.weights {path} OUT --to trunk --allow` keeps the trunk alone"
    missing = [name for name in wanted if name not in weights.tensors]
    if missing or weights.unknown:
        what = f"lacks {_some(missing)}" if missing else f"holds {_some(weights.unknown)}, which no network here has"
        raise CheckpointError(f"model.init={path} does not fit: its {weights.trunk} {what}; {remedy}")
    for name, value in wanted.items():
        if value.shape != weights.tensors[name].shape:
            raise CheckpointError(
                f"model.init={path} does not fit: {name} is {list(weights.tensors[name].shape)} there and "
                f"{list(value.shape)} here; set model.trunk, model.hidden_dim, model.feature_dim, model.prototypes and "
                f"model.local_prototypes to its sizes (its trunk is {weights.trunk}), or {remedy}"
            )
    model.load_state_dict(own | {name: weights.tensors[name] for name in wanted})
    fresh, left = sorted(ours - parts), sorted(parts - ours)
    said = f"{len(wanted)} tensors start from {path} ({weights.layout} layout)"
    said += f"; fresh: {', '.join(fresh)}" if fresh else ""
    return said + (f"; excluded: {', '.join(left)}" if left else "")


def _load(path: Path) -> Any:  # noqa: ANN401 - whatever a file holds
    try:
        if checkpoints.is_sealed(path):
            return sealed.read(path)
        with _numpy_scalar():
            return torch.load(path, map_location="cpu", weights_only=True)
    except CheckpointError:
        raise
    except Exception as error:  # a damaged archive or an odd pickle raises nearly anything
        reason = next((line for line in str(error).splitlines() if "GLOBAL" in line), str(error).partition("\n")[0])
        raise CheckpointError(
            f"{path} is damaged, or holds more than weights, which is not loaded for safety: {reason.strip()}"
        ) from error


def _numpy_scalar() -> contextlib.AbstractContextManager[None]:
    """Lets a NumPy float64 pass, by every name NumPy has had for what makes one."""
    make, dtype = np.float64(0).__reduce__()[0], type(np.dtype(np.float64))
    names: list[Any] = [(make, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")]
    return torch.serialization.safe_globals([*names, np.dtype, dtype])


def _unwrapped(content: Any, path: Path) -> tuple[dict[str, Any], tuple[str, ...]]:  # noqa: ANN401
    """The tensors by name, and the names of what lies beside them."""
    if not isinstance(content, Mapping) or not all(isinstance(name, str) for name in content):
        raise CheckpointError(f"{path} holds a {type(content).__name__}, not weights by name")
    for key in ("state_dict", "model"):
        if isinstance(content.get(key), Mapping):
            return dict(content[key]), tuple(name for name in content if name not in (key, "layout", "trunk"))
    return dict(content), ()


def _layout(heads: Iterable[str]) -> Layout:
    parts = {name.partition(".")[0] for name in heads}
    if parts & (set(_GOLANG) - set(_SWAV)):
        return "published"
    if parts & set(_SWAV):
        return "swav"
    return "torchvision" if "fc" in parts else "trunk"


def _which_trunk(tensors: Mapping[str, Tensor], path: Path) -> str:
    """The architecture with most of these names and shapes, and no other shape under one of its names."""
    fitting = {
        trunk: sum(name in tensors and tensors[name].shape == shape for name, shape in _trunk_shapes(trunk).items())
        for trunk in TRUNKS
    }
    best = max(TRUNKS, key=lambda trunk: (fitting[trunk], -len(_trunk_shapes(trunk))))
    for name, shape in _trunk_shapes(best).items():
        if not fitting[best] or (name in tensors and tensors[name].shape != shape):
            found = list(tensors[name].shape) if name in tensors else "missing"
            raise CheckpointError(
                f"{path} is of another architecture than {', '.join(TRUNKS)}: nearest is {best}, where {name} is "
                f"{list(shape)}; here it is {found}"
            )
    return best


@functools.lru_cache(maxsize=len(TRUNKS))
def _trunk_shapes(trunk: str) -> dict[str, torch.Size]:
    with torch.device("meta"):
        return {name: value.shape for name, value in build_trunk(trunk).state_dict().items()}


def _some(names: Iterable[str]) -> str:
    found = list(names)
    return ", ".join(found[:3]) + (f" and {len(found) - 3} more" if len(found) > 3 else "")
