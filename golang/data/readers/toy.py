"""The generated set, written when it is first opened; it has the layout of COCO 2017."""

from __future__ import annotations

from pathlib import Path

from golang.config import Data
from golang.config.paths import expanded
from golang.data.images import ImageSet
from golang.data.readers.coco import Coco
from golang.data.readers.reader import Reader, Split
from golang.data.toy import write

COCO = Coco(2017)


class Toy(Reader):
    """Whatever `data.toy` asks for."""

    title = "a generated set"
    covers = ("coco2017", *Reader.covers)

    def is_at(self, root: Path) -> bool:
        return (root / write.MARK).is_file() and COCO.is_at(root)

    def check(self, root: Path, split: Split) -> None:
        """Nothing is missing: the set is written when it is opened."""

    def read(self, root: Path, split: Split, labelled: bool = True) -> ImageSet:
        return COCO.read(root, split)

    def remedy(self, root: Path, split: Split) -> str:
        return f"delete {root} and have it written anew: python -m golang.data.toy --root {root}"

    def check_packed(self, data: Data, root: Path) -> None:
        write.write(root, data.toy)  # which finds the specification there, or refuses

    def root(self, data: Data) -> Path:
        return expanded(data.root) if data.root else write.default_root(data.toy)

    def open(self, data: Data, split: Split, labelled: bool = True) -> ImageSet:
        return self.read(write.write(self.root(data), data.toy), split)
