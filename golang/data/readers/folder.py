"""Any folder of images, without labels."""

from __future__ import annotations

import os
from pathlib import Path

from golang.data.images import ImageSet
from golang.errors import DataError

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".webp")


def check(root: Path) -> None:
    """Raises DataError when `root` is not a folder."""
    if not root.is_dir():
        what = "is not a folder" if root.exists() else "does not exist"
        raise DataError(f"data.root={root} {what}; set data.root=FOLDER to a folder of images ({', '.join(SUFFIXES)})")


def read(root: Path) -> ImageSet:
    """Every image file below `root`, unlabelled, sorted by its path relative to `root` (the same on every machine).

    Linked folders are entered once; hidden files and folders are passed over. Raises DataError when `root` is missing
    or holds no image.
    """
    check(root)
    names: list[str] = []
    seen: set[Path] = set()
    for folder, folders, files in os.walk(root, followlinks=True):
        real = Path(folder).resolve()
        if real in seen:  # a link back up would be walked for ever
            folders.clear()
            continue
        seen.add(real)
        # Sorted: of two links to one folder the same is entered on every machine.
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        below = Path(folder).relative_to(root).as_posix()
        prefix = "" if below == "." else below + "/"
        names += [prefix + name for name in files if is_image(name)]
    if not names:
        raise DataError(
            f"no image below data.root={root}: files ending in {', '.join(SUFFIXES)} are looked for, in any subfolder; "
            "check the folder, or set data.root=FOLDER to another"
        )
    return ImageSet.of(root, sorted(names), upright=True)  # photographs as their owner sees them


def is_image(name: str) -> bool:
    """Whether a file of that name counts as an image."""
    # Hidden names include the "._photo.jpg" that archives made on macOS leave behind: no images.
    return name.lower().endswith(SUFFIXES) and not name.startswith(".")
