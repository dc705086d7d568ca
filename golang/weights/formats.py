"""Files of tensors in the formats that projects write: torch's archives, safetensors, pickles of arrays.

Nothing that a file says is run. torch reads with `weights_only`; what programs are known to put beside weights (their
options, numbers of NumPy's) is read as `Inert`, which imports and calls nothing, and anything else is refused.
"""

from __future__ import annotations

import re
import shlex
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from golang.errors import CheckpointError
from golang.runfolder import checkpoints
from golang.weights import arrays, sealed

# What a folder of a network is looked through for.
FILES = ("model.safetensors", "pytorch_model.bin", "model.pkl", "model.pth")
NO_SAFETENSORS = "needs safetensors, which cannot be imported here; `pip install safetensors`"
_STRIP = (
    "import torch; plain = lambda x: plain(x.state_dict()) if hasattr(x, 'state_dict') else torch.as_tensor(x) "
    "if torch.is_tensor(x) or type(x).__name__ == 'ndarray' else {k: v for k, v in ((k, plain(v)) for k, v in "
    "x.items()) if v is not None} if hasattr(x, 'items') else None; torch.save(plain({load}), 'weights.pt')"
)
_HARMFUL = re.compile(r"\b(os|posix|nt|sys|subprocess|builtins|shutil|runpy|importlib|socket|pickle)\.")
_TORCH_PICKLE = b"\x8a\nl\xfc\x9cF\xf9"  # what archives of torch before 1.6 begin with, behind the protocol


class Inert:
    """Stands for an object that nobody needs, whatever it is made with."""

    def __new__(cls, *_: object) -> Inert:
        return super().__new__(cls)

    def __init__(self, *_: object) -> None: ...

    def __setstate__(self, state: object) -> None: ...


class InertDict:
    """Makes a plain mapping, whatever kind a file names."""

    def __new__(cls, *_: object) -> OrderedDict[Any, Any]:  # type: ignore[misc]
        return OrderedDict()


class InertList:
    """Makes a plain list, whatever kind a file names."""

    def __new__(cls, *_: object) -> list[Any]:  # type: ignore[misc]
        return []


_BUILTINS = ("dict", "list", "tuple", "int", "float", "str", "bool", "bytes", "slice", "range", "frozenset", "getattr")
_LIGHTNING = ("pytorch_lightning", "lightning.pytorch")
_STAND_INS = {
    Inert: (
        *(f"builtins.{name}" for name in _BUILTINS),
        "argparse.Namespace", "types.SimpleNamespace", "typing.Any", "datetime.timedelta", "datetime.datetime",
        *(f"pathlib.{local}{kind}Path" for local in ("", "_local.") for kind in ("Posix", "Windows", "PurePosix")),
        "numpy.dtype", "numpy.ndarray",
        *(f"numpy.{core}.multiarray.{name}" for core in ("core", "_core") for name in ("scalar", "_reconstruct")),
        "omegaconf.dictconfig.DictConfig", "omegaconf.listconfig.ListConfig",
        "omegaconf.base.Metadata", "omegaconf.base.ContainerMetadata",
        *(f"omegaconf.nodes.{kind}Node" for kind in ("Any", "String", "Integer", "Float", "Boolean", "Path", "Bytes")),
        *(f"{name}.callbacks.model_checkpoint.ModelCheckpoint" for name in _LIGHTNING),
        *(f"{name}.callbacks.early_stopping.EarlyStopping" for name in _LIGHTNING),
        "mmengine.logging.history_buffer.HistoryBuffer",
    ),
    InertDict: (
        "collections.defaultdict", "addict.addict.Dict", "easydict.EasyDict", "yacs.config.CfgNode",
        "mmcv.utils.config.ConfigDict", "mmengine.config.config.ConfigDict",
        "pytorch_lightning.utilities.parsing.AttributeDict", "lightning_fabric.utilities.data.AttributeDict",
        "lightning.fabric.utilities.data.AttributeDict",
    ),
    InertList: ("collections.deque",),
}  # fmt: skip
STAND_INS: list[Any] = [(stand_in, name) for stand_in, names in _STAND_INS.items() for name in names]


def find(path: Path) -> Path:
    """A checkpoint's file: `path` itself, the newest whole one of a run's folder, or the weights in a folder that
    timm, Hugging Face's libraries or detectron2 read. Raises CheckpointError when there is none."""
    inside = [path / name for name in FILES if (path / name).is_file()]
    return inside[0] if inside else checkpoints.find(path)


def load(path: Path) -> Any:  # noqa: ANN401 - whatever a file holds
    """What a file holds, on the CPU. Raises CheckpointError for one that is damaged, cannot be read, or holds what is
    not loaded for safety."""
    try:
        if checkpoints.is_sealed(path):
            return sealed.read(path)
        with path.open("rb") as file:
            head = file.read(16)
        if head[4:9] == b"\0\0\0\0{":  # behind the length of a header in JSON, in eight bytes
            return _safetensors(path)
        if head[:1] == b"\x80" and not head[2:].startswith(_TORCH_PICKLE):
            return arrays.read(path)
        if head[:1] not in (b"P", b"\x80"):
            raise ValueError("it is no archive of torch's, no file of safetensors and no pickle")
        with torch.serialization.safe_globals(STAND_INS):
            return torch.load(path, map_location="cpu", weights_only=True)
    except CheckpointError:
        raise
    except Exception as error:  # a damaged archive or an odd pickle raises nearly anything
        raise _refusal(path, error) from error


def put_safetensors(tensors: Mapping[str, Tensor], file: BinaryIO) -> None:
    """Writes tensors as safetensors. Raises CheckpointError where that is not installed, OSError."""
    try:
        from safetensors.torch import save
    except ImportError as error:
        raise CheckpointError(f"writing a file of safetensors {NO_SAFETENSORS}") from error
    file.write(save({name: value.contiguous().clone() for name, value in tensors.items()}, {"format": "pt"}))


def _safetensors(path: Path) -> dict[str, Tensor]:
    try:
        from safetensors.torch import load_file
    except ImportError as error:
        raise CheckpointError(f"{path} {NO_SAFETENSORS}") from error
    found: dict[str, Tensor] = load_file(path)
    return found


def _refusal(path: Path, error: Exception) -> CheckpointError:
    """What is said of a file that does not load."""
    text = str(error) or type(error).__name__
    inner = re.search(r"[^\n]*GLOBAL[^\n]*", text) or re.search(r"WeightsUnpickler error:\s*([^\n]+)", text)
    reason = re.split(r" by default|\. In PyTorch", inner[0] if inner else text.partition("\n")[0])[0].strip()
    said = f"{path} is damaged, or holds more than weights, which is not loaded for safety: {reason}"
    pickled = isinstance(error, arrays.RefusedError)
    if not (pickled or "was not an allowed global" in reason) or _HARMFUL.search(reason):
        return CheckpointError(said)
    loader = f"torch.load({str(path)!r}, map_location='cpu', weights_only=False)"
    if pickled:
        loader = f"__import__('pickle').load(open({str(path)!r}, 'rb'), encoding='latin1')"
    command = shlex.join(["python", "-c", _STRIP.replace("{load}", loader)])
    return CheckpointError(f"{said}; where you trust its author, this keeps the tensors alone: {command}")
