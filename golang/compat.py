"""Makes `import torchvision` work on CPU-only torch.

PyPI's Linux wheel of torchvision is built against CUDA. On CPU-only torch its compiled operators do not load, and the
import stops with "operator torchvision::nms does not exist": torchvision registers shape functions for operators
nobody has declared. Declaring the two is enough for transforms, datasets, models and `roi_align`; `ops.nms` and
`io.decode_jpeg` stay unavailable. A wheel that matches torch is left exactly as it is.

Modules take torchvision from here, `from golang.compat import torchvision`, which repairs it once if need be.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any

import torch

_SYMPTOM = "operator torchvision::nms does not exist"
_MISSING = ("nms", "qnms")
_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"

# A Library withdraws its declarations when it is collected, so it lives as long as the process.
_library: torch.library.Library | None = None


def import_torchvision() -> ModuleType:
    """torchvision, its two missing operators declared if, and only if, their absence stops the import.

    Any other failure of the import is passed on unchanged.
    """
    global _library
    try:
        return importlib.import_module("torchvision")
    except RuntimeError as error:
        if _SYMPTOM not in str(error) or _library is not None:
            raise
    # The failed import leaves torchvision's submodules half-initialised; a second import would reuse them.
    for name in [name for name in sys.modules if name.split(".", 1)[0] == "torchvision"]:
        del sys.modules[name]
    _library = torch.library.Library("torchvision", "FRAGMENT")
    for operator in _MISSING:
        _library.define(operator + _SCHEMA)
    return importlib.import_module("torchvision")


torchvision: Any = import_torchvision()
