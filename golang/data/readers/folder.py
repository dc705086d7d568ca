"""Any folder of images, without labels."""

from __future__ import annotations

import os
from pathlib import Path

from golang.data.images import ImageSet
from golang.data.readers.reader import Reader, Split
from golang.errors import DataError

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".webp")
_KINDS = ", ".join(SUFFIXES)


class Folder(Reader):
    """All images below a folder."""

    title = "a folder of images"
    splits = ("train",)
    covers = ()

    def is_at(self, root: Path) -> bool:
        return True

    def remedy(self, root: Path, split: Split) -> str:
        return "restore these files, or delete them"

    def check(self, root: Path, split: Split) -> None:
        if not root.is_dir():
            what = "is not a folder" if root.exists() else "does not exist"
            raise DataError(f"data.root={root} {what}; set data.root=FOLDER to a folder of images ({_KINDS})")

    def read(self, root: Path, split: Split = "train", labelled: bool = True) -> ImageSet:
        """Every image file below `root`, unlabelled, sorted by its path relative to `root`. Linked folders are entered
        once; hidden files and folders are passed over."""
        self.check(root, split)
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
                f"no image below data.root={root}: files ending in {_KINDS} are looked for, in any "
                "subfolder; check the folder, or set data.root=FOLDER to another"
            )
        return ImageSet.of(root, sorted(names), upright=True)  # photographs as their owner sees them


def is_image(name: str) -> bool:
    """Whether a file of that name counts as an image; no hidden one does, such as the "._photo.jpg" of macOS."""
    return name.lower().endswith(SUFFIXES) and not name.startswith(".")
