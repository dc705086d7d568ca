"""Settings that work, but hardly as they were meant."""

from __future__ import annotations

from collections.abc import Iterator

from golang.config.checks import local_queue_length, local_views, queue_length
from golang.config.schema import Config, Data

# Training images of the sets whose number is published; the readers' own, which are not imported before a run trains.
IMAGES = {
    "coco2014": 82_783, "coco2017": 118_287, "voc2007": 5_011, "voc2012": 5_717, "voc0712": 16_551,
    "voc_sbd": 10_582, "imagenet": 1_281_167,
}  # fmt: skip


def expected(data: Data) -> int | None:
    """The training images that a set should have; None where its folder alone can tell."""
    if data.train.fingerprint:
        return int(data.train.fingerprint.partition("-")[0])
    return data.toy.train if data.name == "toy" else IMAGES.get(data.name)


def doubts(config: Config, images: int | None) -> Iterator[str]:
    """Sentences about parts of a training that will never come to work, each with the setting. `images`: how many it
    trains on, None if that is not known."""
    if config.evaluation.checkpoint is not None or (config.recipe.left and not config.recipe.size):
        return
    optim, queue, batch = config.optim, config.queue, config.optim.batch_size
    epoch = images // batch if images is not None else 0  # steps; 0: not known, or refused
    if 0 < (steps := epoch * optim.epochs) <= optim.freeze_iterations:
        yield (
            f"optim.freeze_iterations={optim.freeze_iterations} is all of the run's {steps} steps ({optim.epochs} "
            f"epochs of {epoch}), so its prototypes never learn; optim.freeze_iterations={steps // 50} is the "
            "published share of 2 % (another run)"
        )
    rows = {"length": (queue_length(config), batch)}
    rows["local_length"] = local_queue_length(config), batch * local_views(config)
    for name, (length, a_step) in rows.items():
        if length and queue.start_epoch >= optim.epochs:
            yield (
                f"queue.start_epoch={queue.start_epoch} is not below optim.epochs={optim.epochs}, and epochs count "
                f"from 0, so the queue of queue.{name}={length} never starts; lower it, or set "
                f"queue.{name}=0 (another run)"
            )
        elif length and 0 < (optim.epochs - queue.start_epoch) * epoch * a_step <= length:
            yield (
                f"queue.{name}={length} is more than the run brings after queue.start_epoch={queue.start_epoch}, so "
                "the queue is never full, and never used; lower either, or set it to 0 (another run)"
            )
