"""Writes the generated set.

python -m golang.data.toy                       # the default set, in datasets/
python -m golang.data.toy --sheet scenes.png    # and a picture of 72 of its validation images
"""

from __future__ import annotations

import argparse
import dataclasses
import logging
import sys
from pathlib import Path

from PIL import Image, ImageDraw

from golang.config import Toy
from golang.data.toy import glyphs, scene
from golang.data.toy.layouts import LAYOUTS, default_root, provide
from golang.data.toy.write import check
from golang.errors import GolangError


def main(arguments: list[str] | None = None) -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(prog="python -m golang.data.toy", description="Generate the set of data=toy.")
    parser.add_argument("--root", type=Path, help="where to write it (default: a folder of its own in datasets/)")
    parser.add_argument("--layout", choices=LAYOUTS, default="coco", help="coco is data=toy; voc is read by "
                        "data=voc2007, imagenet by data=imagenet and data=folder")  # fmt: skip
    parser.add_argument("--sheet", type=Path, metavar="PATH.png", help="also draw 72 validation images as one picture")
    for setting in dataclasses.fields(Toy):
        parser.add_argument(f"--{setting.name}", type=int, default=setting.default, help=f"default {setting.default}")
    options = parser.parse_args(arguments)
    spec = Toy(**{setting.name: getattr(options, setting.name) for setting in dataclasses.fields(Toy)})
    try:
        print(provide(options.root or default_root(spec, options.layout), spec, options.layout))
        if options.sheet:
            options.sheet.parent.mkdir(parents=True, exist_ok=True)
            sheet(spec).save(options.sheet)
            print(options.sheet)
    except GolangError as error:
        sys.exit(str(error))


def sheet(spec: Toy, columns: int = 12, rows: int = 6, cell: int = 128) -> Image.Image:
    """A contact sheet of the first validation images, their labels beneath."""
    check(spec)
    gap, caption = 6, 26
    page = Image.new("RGB", (columns * (cell + gap) + gap, rows * (cell + caption + gap) + gap), (24, 24, 27))
    pen = ImageDraw.Draw(page)
    for index in range(columns * rows):
        drawn = scene.render(spec, "val2017", index)
        x, y = gap + index % columns * (cell + gap), gap + index // columns * (cell + caption + gap)
        page.paste(Image.fromarray(drawn.image).resize((cell, cell), Image.Resampling.BICUBIC), (x, y))
        names = sorted({glyphs.NAMES[thing.category] for thing in drawn.things if thing.labelled})
        lines = [" · ".join(names[:2]), " · ".join(names[2:4]) + (" …" if len(names) > 4 else "")]
        pen.multiline_text((x + 1, y + cell + 2), "\n".join(lines), fill=(190, 190, 196), font_size=10, spacing=1)
    return page


if __name__ == "__main__":
    main()
