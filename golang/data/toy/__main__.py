"""`python -m golang.data.toy`: writes the generated set."""

from __future__ import annotations

import argparse
import dataclasses
import logging
import sys
from pathlib import Path

from golang.config import Toy
from golang.data.toy import write as toy
from golang.data.toy.layouts import LAYOUTS, default_root, provide
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
            toy.sheet(spec).save(options.sheet)
            print(options.sheet)
    except GolangError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
