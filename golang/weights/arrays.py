"""Pickles of plain arrays, as detectron2's files are: numbers are read, and nothing they name is imported or called.

A pickle says what to import and what to call. Here every name but those that make an array or a dict is refused, and
those stand for classes of this module, which only keep numbers.
"""

from __future__ import annotations

import pickle
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor


class RefusedError(Exception):
    """A pickle that names something else than numbers."""


class _Type:
    """Stands for a NumPy type of numbers."""

    def __init__(self, code: str, *_: object) -> None:
        if not re.fullmatch(r"[<>|=]?([fiu][1248]|b1)", code):
            raise RefusedError(f"it has an array of {code!r}, which are no plain numbers")
        self.code, self.order = code.lstrip("<>|="), "="

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = str(state[1])

    def numbers(self, data: bytes | bytearray | str) -> np.ndarray[Any, Any]:
        """What the bytes say, in this machine's order; Python 2 wrote them as text."""
        raw = data.encode("latin1") if isinstance(data, str) else bytes(data)
        kind = np.dtype(f"{self.order}{self.code}")
        return np.frombuffer(raw, kind).astype(kind.newbyteorder("="))


class _Array:
    """Stands for a NumPy array."""

    def __init__(self, *_: object) -> None:
        self.value: Tensor | None = None

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, kind, fortran, data = state
        self.value = _tensor(kind, data, shape, "F" if fortran else "C")


def _tensor(kind: _Type, data: bytes, shape: tuple[int, ...], order: Any) -> Tensor:  # noqa: ANN401
    return torch.from_numpy(kind.numbers(data).reshape(shape, order=order).copy())


def _from_buffer(data: bytes, kind: _Type, shape: tuple[int, ...], order: str) -> _Array:
    array = _Array()
    array.value = _tensor(kind, data, shape, order)
    return array


def _scalar(kind: _Type, data: bytes) -> Any:  # noqa: ANN401 - a number
    return kind.numbers(data)[0].item()


def _encoded(text: str, _: str) -> bytes:
    return text.encode("latin1")


def _no_bytes() -> bytes:
    return b""


_NAMES: dict[tuple[str, str], Callable[..., object]] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("_codecs", "encode"): _encoded,
    ("builtins", "bytes"): _no_bytes,  # as protocol 2 has what is empty
    ("numpy", "dtype"): _Type,
    ("numpy", "ndarray"): _Array,
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _Array for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): _scalar for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _from_buffer for core in ("core", "_core")},
}

_PYTHON_2 = {"__builtin__": "builtins", "commands": "subprocess"}  # names that protocol 2 has for modules


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:  # noqa: ANN401 - a stand-in
        module = _PYTHON_2.get(module, module)
        if (module, name) not in _NAMES:
            raise RefusedError(f"it is a pickle that names {module}.{name}, and could run any program")
        return _NAMES[module, name]

    def persistent_load(self, pid: object) -> Any:  # noqa: ANN401
        raise RefusedError(f"it is a pickle that refers to {pid!r}, outside of itself")


def read(path: Path) -> Any:  # noqa: ANN401 - whatever a file holds
    """What a pickle holds, its arrays as tensors. Raises RefusedError for one that names anything but arrays and plain
    data, OSError, and nearly anything for a damaged one."""
    with path.open("rb") as file:
        return _tensors(_Reader(file, encoding="latin1").load())


def _tensors(value: Any) -> Any:  # noqa: ANN401 - what a pickle holds
    if isinstance(value, _Array):
        return value.value
    return {name: _tensors(one) for name, one in value.items()} if isinstance(value, Mapping) else value


def write(content: Mapping[str, Any], file: BinaryIO) -> None:
    """Writes plain data with its tensors as arrays, which NumPy has for all but bfloat16: that becomes float32."""
    pickle.dump(_numpy(content), file, protocol=4)


def _numpy(value: Any) -> Any:  # noqa: ANN401 - plain data
    if isinstance(value, Tensor):
        return (value.float() if value.dtype == torch.bfloat16 else value).contiguous().numpy()
    return {name: _numpy(one) for name, one in value.items()} if isinstance(value, Mapping) else value
