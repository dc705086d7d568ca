"""GOLANG: self-supervised pre-training on multi-label images.

    from golang import Config, train
    train(Config.from_dict({"data": {"name": "folder", "root": "photos"}}), "runs/photos")
"""

from golang import compat  # noqa: F401 - makes torchvision importable on CPU-only torch, before anything uses it
