"""What a training needs of a GPU's memory, traced on this machine without one; trains nothing.

python -m golang.memory optim.batch_size=64 --card 24            does it fit a card of 24 GB?
python -m golang.memory optim.batch_size=128 --gpus 2 precision=fp32 model.trunk=resnet101

SETTING=VALUE are the trainer's (golang/config/schema.py); what is not said is the published recipe's.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from typing import Any

from golang import tables
from golang.config import Config
from golang.errors import ConfigError, GolangError
from golang.memory.estimate import CARDS, Estimate, estimate, fitting
from golang.method.model import display_name

GIB = 2**30
LEFT_OUT = """\
A card's GB are taken as 10⁹ bytes, 1 GiB of them kept for what is not counted here: the CUDA context (about 0.5 GiB),
cuDNN's workspaces, NCCL's buffers. Nor are what CUDA graphs keep, evaluations, and other users of the card."""


def settings(words: Sequence[str]) -> Config:
    """SETTING=VALUE words as settings; a value is JSON, or else text. Raises ConfigError."""
    values: dict[str, Any] = {}
    for word in words:
        key, equals, text = word.partition("=")
        if not equals:
            raise ConfigError(f"{word!r} is no setting; write it as in optim.batch_size=64")
        try:
            value = json.loads(text)
        except ValueError:
            value = text
        *sections, last = key.split(".")
        group = values
        for section in sections:
            group = group.setdefault(section, {})
            if not isinstance(group, dict):
                raise ConfigError(f"{word}: {section} is given a value of its own by another word; leave one away")
        group[last] = value
    return Config.from_dict(values)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m golang.memory", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("settings", nargs="*", metavar="SETTING=VALUE")
    parser.add_argument("--gpus", type=int, default=1, metavar="N", help="ranks, one a GPU, that share the batch (1)")
    parser.add_argument("--card", type=float, metavar="GB", help="say the least optim.accumulate that fits this card")
    parser.add_argument("--json", action="store_true", help="one object, for programs")
    options = parser.parse_intermixed_args(arguments)
    try:
        if options.gpus < 1:
            raise ConfigError(f"--gpus {options.gpus} must be at least 1")
        if options.card is not None and not options.card > 0:
            raise ConfigError(f"--card {options.card:g} must be greater than 0")
        whole = estimate(settings(options.settings), options.gpus, _announce)
        found = fitting(whole, options.card, _announce) if options.card is not None else None
    except GolangError as error:
        print(error, file=sys.stderr)
        return error.exit_status
    (_as_json if options.json else _as_text)(whole, options.card, found)
    return 0


def _announce(config: Config) -> None:
    print(f"tracing a step with optim.accumulate={config.optim.accumulate} …", file=sys.stderr, flush=True)


def _parts(one: Estimate) -> dict[str, int]:
    """Bytes at the peak, by what they are for."""
    return one.lasting | {"activations and gradients": one.most.allocated - sum(one.lasting.values())}


def _as_text(whole: Estimate, card: float | None, found: Estimate | None) -> None:
    config = whole.config
    batch, parts = config.optim.batch_size, config.optim.accumulate
    shared = f"{batch // whole.ranks} of {batch} images on each of {whole.ranks} GPUs"
    each = f" in {parts} micro-batches" if parts > 1 else ""
    named = f"{display_name(config)}, {config.model.trunk}, {config.precision}"
    print(f"{named}: {shared if whole.ranks > 1 else f'{batch} images on one GPU'}{each}")
    sizes = _parts(whole) | {"at the peak": whole.most.allocated, "held by torch's allocator": whole.most.reserved}
    rows = [(name, f"{size / GIB:6.2f} GiB") for name, size in sizes.items()]
    tables.show(("", ""), rows, lambda row: row[0] == "at the peak", sys.stdout, title="what a GPU needs for it")
    print("fits a card of " + ", ".join(f"{size} GB: {'yes' if whole.fits(size) else 'no'}" for size in CARDS))
    print(LEFT_OUT)
    if card is not None:
        print(_verdict(whole, card, found))


def _verdict(whole: Estimate, card: float, found: Estimate | None) -> str:
    if found is whole:
        return f"{card:g} GB: fits as it is"
    if found is None:
        return f"{card:g} GB: does not fit, not even one image at a time; try more GPUs, or a smaller model.trunk"
    return (
        f"{card:g} GB: does not fit as it is; optim.accumulate={found.config.optim.accumulate} does, with "
        f"{found.most.allocated / GIB:.2f} GiB at the peak"
    )


def _as_json(whole: Estimate, card: float | None, found: Estimate | None) -> None:
    answer: dict[str, Any] = {
        "images": whole.config.optim.batch_size // whole.ranks,
        "gpus": whole.ranks,
        "accumulate": whole.config.optim.accumulate,
        "bytes": _parts(whole),
        "peak": whole.most.allocated,
        "reserved": whole.most.reserved,
        "fits": {str(size): whole.fits(size) for size in CARDS},
    }
    if card is not None:
        answer["card"] = card
        answer["accumulate_that_fits"] = None if found is None else found.config.optim.accumulate
    print(json.dumps(answer))


if __name__ == "__main__":
    sys.exit(main())
