"""The repair of torchvision on CPU-only torch, in fresh interpreters: an import happens once a process."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def run(script: str, *path: Path) -> str:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(map(str, [*path, ROOT]))}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_torchvision_works_after_the_import() -> None:
    out = run(
        """
        import golang.compat
        import torch, torchvision
        from torchvision.transforms import v2
        with torch.device("meta"):
            model = torchvision.models.resnet18()
        print(tuple(model(torch.zeros(2, 3, 64, 64, device="meta")).shape))
        print(tuple(v2.Resize(8, antialias=True)(torch.zeros(3, 16, 16, dtype=torch.uint8)).shape))
        print(golang.compat.import_torchvision() is torchvision)
        """
    )
    assert out.split("\n")[:3] == ["(2, 1000)", "(3, 8, 8)", "True"]


def test_an_intact_torchvision_is_left_alone_and_other_failures_are_passed_on(tmp_path: Path) -> None:
    package = tmp_path / "torchvision"
    package.mkdir()
    (package / "__init__.py").write_text(
        "import os, sys, builtins\n"
        "builtins.imports = getattr(builtins, 'imports', 0) + 1\n"
        "import torchvision.ops\n"
        "if os.environ.get('BREAK'): raise RuntimeError(os.environ['BREAK'])\n"
    )
    (package / "ops.py").write_text("")
    out = run(
        """
        import builtins, os, sys
        import torchvision.ops
        before = {name: module for name, module in sys.modules.items() if name.startswith("torchvision")}
        from golang import compat
        compat.import_torchvision()
        after = {name: module for name, module in sys.modules.items() if name.startswith("torchvision")}
        print(sorted(after), before == after, builtins.imports, compat._library)

        for name in after:
            del sys.modules[name]
        os.environ["BREAK"] = "something else"
        try:
            compat.import_torchvision()
        except RuntimeError as error:
            print(error, builtins.imports, compat._library)
        """,
        tmp_path,
    )
    assert out.split("\n")[:2] == ["['torchvision', 'torchvision.ops'] True 1 None", "something else 2 None"]
