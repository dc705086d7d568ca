"""Builds the null driver for the torch at hand, once, and says how a process is started on it."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
PARTS = ("counts", "memory", "streams", "runtime", "libraries")
SOURCES = [HERE / "null.h", HERE / "build.py", *(HERE / f"{part}.cpp" for part in PARTS)]
LIBRARY = "libnull.so"
DRIVERS = ("libcuda.so.1", "libnvidia-ml.so.1")  # files in which torch looks for functions that are in LIBRARY
# What torch's libraries ask of CUDA's; the calls among them that compute are counted.
ASKED = re.compile(r"(?:cu(?:da|blas|dnn|sparse|solver|fft|rand|file|pti|[A-Z])|__cuda|nccl|nvrtc|nvshmem)\w*")
COMPUTES = {
    "kernel": re.compile(r"cuLaunch\w*Kernel\w*"),
    "blas": re.compile(r"cublas(?!Lt)\w*(?:[Gg]em[mv]|[Dd]ot|[Tt]rsm|getr|geqrf|gels|[Ss]cal|[Aa]xpy)\w*"),
    "dnn": re.compile(r"cudnn(?!Get|Set|Create|Destroy)\w*(?:Forward|Backward)\w*"),
}


def missing() -> str:
    """Why the driver can't be built here and what to do; "" where it can."""
    if shutil.which("g++") is None or shutil.which("nm") is None:
        return "needs g++ and nm: apt-get install g++"
    if not _includes():
        return "needs torch's CUDA build with CUDA's headers beside it, as pip installs it on Linux: make setup"
    return ""


def environment() -> dict[str, str]:
    """This process's environment, with the null driver in place of CUDA's; the first call builds it."""
    built = _built()
    libraries = [str(built), *(str(path) for path in _site().glob("nvidia/*/lib"))]
    return os.environ | {
        "LD_PRELOAD": str(built / LIBRARY),
        "LD_LIBRARY_PATH": ":".join(libraries),
        "OMP_NUM_THREADS": "1",
        "KINETO_LOG_LEVEL": "99",
    }


def _site() -> Path:
    spec = importlib.util.find_spec("torch")
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).parent.parent


def _includes() -> list[Path]:
    # The compiler's own part of the runtime's headers comes with Triton alone.
    folders = [*sorted(_site().glob("nvidia/*/include")), _site() / "triton/backends/nvidia/include"]
    wanted = ("crt/host_defines.h", "cuda_runtime_api.h", "cudnn.h", "nccl.h", "nvrtc.h")
    return folders if all(any((folder / name).exists() for folder in folders) for name in wanted) else []


def _built() -> Path:
    """The folder of the built libraries, of these sources and this torch."""
    version = (_site() / "torch" / "version.py").read_bytes()
    key = hashlib.sha256(b"".join([*(path.read_bytes() for path in SOURCES), version])).hexdigest()[:16]
    above = Path(sys.prefix) if os.access(sys.prefix, os.W_OK) else Path.home() / ".cache"
    folder = above / "null-cuda" / key
    if not (folder / LIBRARY).exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
            _build(Path(scratch))
            folder.mkdir(exist_ok=True)
            for name in (*DRIVERS, LIBRARY):  # the one that is looked for comes last
                (Path(scratch) / name).rename(folder / name)
    return folder


def _build(scratch: Path) -> None:
    options = ["-O1", "-std=c++17", "-fPIC", "-w", *(f"-I{folder}" for folder in _includes())]
    objects = [scratch / f"{part}.o" for part in PARTS]
    stubs = scratch / "stubs.o"
    compilers = [subprocess.Popen(["g++", *options, "-c", HERE / f"{made.stem}.cpp", "-o", made]) for made in objects]
    if any(compiler.wait() for compiler in compilers):
        raise RuntimeError(f"the null driver does not compile: g++ on {HERE}")
    ours = {name for made in objects for name in _symbols(made, "--defined-only")}
    libraries = [*(_site() / "torch" / "lib").glob("*.so"), *(_site() / "torchvision").glob("*.so")]
    asked = {name for library in libraries for name in _symbols(library, "--dynamic", "--undefined-only")}
    lines = ["int library_call(int);", *(_stub(name) for name in sorted(asked - ours) if ASKED.fullmatch(name)), ""]
    (scratch / "stubs.c").write_text("\n".join(lines))
    subprocess.run(["gcc", "-fPIC", "-w", "-c", scratch / "stubs.c", "-o", stubs], check=True)
    # Its own C++ library is inside and hidden, so that it never meets the one that torch was built with.
    link = ["-shared", "-static-libstdc++", "-static-libgcc", "-Wl,--exclude-libs,ALL", "-ldl", "-lpthread"]
    named = f"-Wl,-soname,{LIBRARY}"
    subprocess.run(["g++", *objects, stubs, *link, named, "-o", scratch / LIBRARY], check=True)
    (scratch / "empty.c").write_text("")
    for driver in DRIVERS:
        options = [
            "-shared",
            f"-Wl,-soname,{driver},--no-as-needed",
            scratch / "empty.c",
            f"-L{scratch}",
            f"-l:{LIBRARY}",
        ]
        subprocess.run(["gcc", *options, "-o", scratch / driver], check=True)


def _symbols(file: Path, *which: str) -> set[str]:
    listed = subprocess.run(["nm", *which, file], check=True, capture_output=True, text=True).stdout
    return {line.split()[-1].partition("@")[0] for line in listed.splitlines() if line.strip()}


def _stub(name: str) -> str:
    kinds = re.findall(r"X\((\w+)\)", (HERE / "null.h").read_text().partition("#define NULL_KINDS")[2])
    for kind, computes in COMPUTES.items():
        if computes.fullmatch(name):
            return f"int {name}() {{ return library_call({kinds.index(kind)}); }}"
    return f"int {name}() {{ return 0; }}"
