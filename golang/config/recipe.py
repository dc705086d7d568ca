"""The recipe for one's own images: the published one, with what depends on the images and the GPUs chosen for them.

The published recipe (`golang.config.schema`) has 64 images on each of two GPUs, a learning rate of .6 for those 128,
and 400 epochs of COCO 2014, which are 33 million images; its prototypes learn after 2 % of the steps.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from golang.config.schema import Config, Recipe

ON_A_GPU, ON_A_PROCESSOR = 64, 16  # images a rank
MOST = 2048  # images a step: the queue of 3840 embeddings holds more than one
BATCH, RATE, FALL = 128, 0.6, 1000  # as published: images, learning rate, and by how much it falls
SEEN = 400 * 82_783  # images
FEWEST, MOST_EPOCHS = 100, 800


@dataclass(frozen=True)
class Choice:
    """A setting, its value and why."""

    key: str
    value: int | float
    why: str


def chosen(config: Config, images: int, ranks: int, gpus: bool) -> Config:
    """`config` with all that it leaves to the recipe, for a set of so many images and so many ranks, on GPUs or not."""
    if not config.recipe.left:
        return config
    config = replace(config, recipe=Recipe(config.recipe.left, images, ranks, gpus))
    values: dict[str, Any] = {choice.key.removeprefix("optim."): choice.value for choice in choices(config)}
    return replace(config, optim=replace(config.optim, **values))


def choices(config: Config) -> list[Choice]:
    """What `config.recipe` comes to, in the order of its settings."""
    recipe, optim, found = config.recipe, config.optim, {}

    def choose(name: str, value: int | float, why: str) -> int | float:
        key = f"optim.{name}"
        if key not in recipe.left:
            typed: int | float = getattr(optim, name)
            return typed
        found[key] = Choice(key, value, why)
        return value

    batch = choose("batch_size", *_batch(recipe))
    epochs = choose("epochs", *_epochs(recipe.size))
    rate = choose("base_lr", float(f"{RATE * batch / BATCH:.3g}"), f"{RATE} for {BATCH} images, in proportion")
    choose("final_lr", float(f"{rate / FALL:.3g}"), f"a {FALL}th of optim.base_lr, as published")
    steps = int(recipe.size // batch * epochs) if batch else 0
    choose("freeze_iterations", steps // 50, f"2 % of {steps} steps, as published")
    return [found[key] for key in recipe.left]


def lines(config: Config) -> list[str]:
    """What was chosen, for whom, and how to choose otherwise, as text; nothing where nothing was left to choose."""
    recipe = config.recipe
    if not recipe.left or not recipe.size:
        return []
    rows = [(f"{choice.key}={choice.value:g}", choice.why) for choice in choices(config)]
    width = max(len(setting) for setting, _ in rows)
    where = "GPU" if recipe.gpus else "process on a processor"
    ranks = f"{recipe.ranks} {where}{'s' if recipe.ranks > 1 and recipe.gpus else ''}"
    return [
        f"The recipe for one's own images chose, for {recipe.size:,} images and {ranks}:",
        *(f"  {setting:{width}}  {why}" for setting, why in rows),
        f"To choose otherwise, type the setting, such as {rows[0][0].partition('=')[0]}=… (another run). What was "
        "chosen stays when the run goes on, on however many GPUs.",
    ]


def _batch(recipe: Recipe) -> tuple[int, str]:
    usual = ON_A_GPU if recipe.gpus else ON_A_PROCESSOR
    share = max(1, min(usual, MOST // recipe.ranks, recipe.size // recipe.ranks))
    what = "a GPU" if recipe.gpus else "a process, which has no GPU"
    why = f"{share} images {what}"
    if share == usual:
        why += ", as published" if recipe.gpus else ""
    elif share == recipe.size // recipe.ranks:
        why += ": there are no more"
    else:
        why += f": at most {MOST:,} a step"
    return share * recipe.ranks, why


def _epochs(images: int) -> tuple[int, str]:
    epochs = min(MOST_EPOCHS, max(FEWEST, round(SEEN / images)))
    why = f"{epochs * images / 1e6:.3g} million images"
    if epochs == MOST_EPOCHS:
        return epochs, f"{why}; more epochs than {MOST_EPOCHS} are not chosen"
    if epochs == FEWEST:
        return epochs, f"{why}; fewer epochs than {FEWEST} are not chosen"
    return epochs, f"{why}, as published"
