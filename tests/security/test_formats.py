"""Pickles of arrays are read as numbers, and of anything else not a name is looked up."""

from __future__ import annotations

import fractions
import functools
import itertools
import os
import pickle
import shlex
import subprocess
import sys
import types
from collections import OrderedDict, defaultdict
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from golang.errors import CheckpointError
from golang.weights import arrays, formats, layouts
from tests.security.common import ROOT
from tests.unit.test_projects import ONE, same

ARRAYS = {
    "float32": np.arange(6, dtype=np.float32).reshape(2, 3),
    "float16": np.arange(3, dtype=np.float16),
    "int64": np.array(7),
    "bool": np.array([True, False]),
    "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "big-endian": np.arange(4, dtype=">f4"),
    "strided": np.arange(8.0)[::2],
    "empty": np.zeros((0, 3), dtype=np.float32),
}


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_arrays_come_back_as_tensors(tmp_path: Path, protocol: int) -> None:
    content = {
        "model": OrderedDict(ARRAYS),
        "__author__": "someone",
        "matching_heuristics": True,
        "lr": np.float64(0.5),
    }
    (tmp_path / "in.pkl").write_bytes(pickle.dumps(content, protocol))
    found = formats.load(tmp_path / "in.pkl")
    assert (found["__author__"], found["matching_heuristics"], found["lr"]) == ("someone", True, 0.5)
    for name, value in ARRAYS.items():
        tensor = found["model"][name]
        assert isinstance(tensor, Tensor) and tensor.shape == value.shape
        assert np.array_equal(tensor.numpy(), value) and tensor.numpy().dtype == value.dtype.newbyteorder("=")


def test_what_python_2_wrote(tmp_path: Path) -> None:
    """It has numbers as text, as files of its time do."""
    data = bytes(range(250, 256))
    (tmp_path / "in.pkl").write_bytes(
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01K\x06\x85"
        b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U\x06"
        + data + b"tb."
    )  # fmt: skip
    assert formats.load(tmp_path / "in.pkl").tolist() == list(data)


class Calls:
    """Names something, and calls it with an argument."""

    def __init__(self, call: object, *arguments: object) -> None:
        self.made = (call, arguments)

    def __reduce__(self) -> tuple:
        return self.made


@pytest.mark.parametrize(
    ("value", "named", "helped"),
    [
        (Calls(os.system, "touch canary"), r"(posix|nt)\.system", False),
        (Calls(eval, "open('canary', 'w')"), r"builtins\.eval", False),
        (Calls(subprocess.call, ["touch", "canary"]), r"subprocess\.call", False),
        (fractions.Fraction(1, 2), r"fractions\.Fraction", True),
        (functools.partial(print), r"functools\.partial", True),
        (np.array([fractions.Fraction(1)], dtype=object), r"'O8', which are no plain numbers", True),
        (np.array(["text"]), r"'U4', which are no plain numbers", True),
        (torch.ones(1), r"torch\._utils", True),
    ],
)
@pytest.mark.parametrize("protocol", [2, 4])
def test_a_pickle_that_names_more_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: object, named: str, helped: bool, protocol: int
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("in.pkl").write_bytes(pickle.dumps({"model": {"conv1.weight": value}}, protocol))
    with pytest.raises(CheckpointError, match=f"in.pkl .*not loaded for safety: .*{named}") as error:
        layouts.read(Path("in.pkl"))
    assert ("where you trust its author" in str(error.value)) == helped
    assert not Path("canary").exists()


@pytest.mark.parametrize(
    "data", [b"\x80\x04", b"\x80\x04.", b"\x80\x04}", b"\x80\x02X\xff\xff\x00\x00", b"\x80", b"", b"{"]
)
def test_a_damaged_pickle_is_named(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "in.pkl").write_bytes(data)
    with pytest.raises(CheckpointError, match=r"in\.pkl is damaged"):
        layouts.read(tmp_path / "in.pkl")


def test_a_pickle_of_itself_ends(tmp_path: Path) -> None:
    content: dict = {}
    content["model"] = content
    (tmp_path / "in.pkl").write_bytes(pickle.dumps(content))
    torch.save(content, tmp_path / "in.pt")
    for name in ("in.pkl", "in.pt"):
        with pytest.raises(CheckpointError, match=f"{name} (is damaged|holds no network)"):
            layouts.read(tmp_path / name)


@pytest.mark.parametrize("pickled", [False, True])
def test_the_command_that_is_offered_keeps_the_tensors(tmp_path: Path, pickled: bool) -> None:
    beside = {"hyper": fractions.Fraction(1, 2), "epoch": 3}
    path = tmp_path / "in its place.pt"
    if pickled:
        state = {name: value.numpy() for name, value in ONE.items()}
        path.write_bytes(pickle.dumps({"model": state, **beside}))
    else:
        torch.save({"model": dict(ONE), **beside}, path)
    with pytest.raises(CheckpointError, match=r"Fraction.* this keeps the tensors alone: python -c") as error:
        layouts.read(path)
    command = shlex.split(str(error.value).partition("tensors alone: ")[2])
    subprocess.run([sys.executable, *command[1:]], cwd=tmp_path, check=True, timeout=120)
    assert same(layouts.read(tmp_path / "weights.pt"), ONE)


@pytest.mark.parametrize("name", [name for stand_in, name in formats.STAND_INS if stand_in is formats.InertDict])
def test_settings_of_others_are_read_without_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    module, _, kind = name.rpartition(".")
    if module != "collections":
        holder = types.ModuleType(module)
        made = type(kind, (dict,), {"__module__": module})
        monkeypatch.setattr(holder, kind, made, raising=False)
        for parent in itertools.accumulate(module.split("."), "{}.{}".format):
            monkeypatch.setitem(sys.modules, parent, holder)
    else:
        made = defaultdict
    settings = made()
    settings["lr"] = made()
    if made is not defaultdict:
        settings.frozen = True
    torch.save({"state_dict": ONE, "settings": settings}, tmp_path / "in.pt")
    monkeypatch.undo()
    assert same(layouts.read(tmp_path / "in.pt"), ONE) and layouts.read(tmp_path / "in.pt").beside == ("settings",)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\x89HDF\r\n\x1a\n" + bytes(64), "it is no archive of torch's, no file of safetensors and no pickle"),
        (b"PK\x03\x04" + bytes(64), "is damaged"),
        (b"hello", "it is no archive of torch's"),
    ],
)
def test_a_file_of_another_kind_is_told(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "in.h5").write_bytes(data)
    with pytest.raises(CheckpointError, match=message) as error:
        layouts.read(tmp_path / "in.h5")
    assert "weights_only" not in str(error.value), "nobody is told to unpickle what nobody knows"


def test_the_stand_ins_import_nothing() -> None:
    """What may be named is data; what takes its place is this project's."""
    makers = {maker.__module__ for maker in arrays._NAMES.values()}
    assert makers == {"golang.weights.arrays", "collections"}
    assert {maker.__module__ for maker, _ in formats.STAND_INS} == {"golang.weights.formats"}
    assert (ROOT / "golang/weights/arrays.py").read_text().count("find_class") == 1
