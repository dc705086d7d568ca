"""The trainer's settings: frozen dataclasses whose defaults are the published COCO 2014 recipe.

`Config.from_dict` builds them from plain data (Hydra's, a frozen run's, or a caller's). Defaults never change their
meaning: a run's identity counts only the settings that differ from them (`golang.config.identity`).
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from golang.config.reading import NATURAL, PART, PIXELS, POSITIVE, SHARE, Range, build

NUM_LARGE = 2  # large crops an image; the objective pairs exactly two


@dataclass(frozen=True)
class Toy:
    """The generated set of `data=toy`."""

    classes: int = 20
    size: int = 64  # pixels a side
    train: int = 5000  # images
    val: int = 2000
    seed: int = 0


@dataclass(frozen=True)
class Data:
    name: Literal["coco2014", "coco2017", "folder", "imagenet", "toy", "voc2007", "voc2012"] = "coco2014"
    root: str | None = None  # folder that holds the images; for toy: where to write them
    workers: Annotated[int, NATURAL] = 8  # loader processes a rank
    # Who changes pixels: Pillow; OpenCV, at a third of the time; or the device, which leaves the loader a fifth of it.
    pipeline: Literal["pil", "opencv", "device"] = "pil"
    toy: Toy = field(default_factory=Toy)


@dataclass(frozen=True)
class Method:
    name: Literal["golang", "swav"] = "golang"
    temperature: Annotated[float, POSITIVE] = 0.1
    epsilon: float = 0.05  # Sinkhorn's entropy
    sinkhorn_iterations: Annotated[int, POSITIVE] = 3
    local_permutation: Literal["batch", "image", "matched"] = "batch"


@dataclass(frozen=True)
class Attention:
    temperature: Annotated[float, POSITIVE] = 1.0


@dataclass(frozen=True)
class CrossView:
    detach: bool = True  # False: the cross-view loss trains the trunk too
    same_view: bool = True  # False: targets of the same view are excluded


@dataclass(frozen=True)
class Queue:
    length: Annotated[int, NATURAL] = 3840  # embeddings a view, over all ranks
    local_length: Annotated[int, NATURAL] = 0  # local embeddings a view, over all ranks
    start_epoch: Annotated[int, NATURAL] = 7  # epochs count from 0


@dataclass(frozen=True)
class Model:
    trunk: str = "resnet50"
    group_heads: Annotated[int, POSITIVE] = 4
    hidden_dim: Annotated[int, POSITIVE] = 2048
    feature_dim: Annotated[int, POSITIVE] = 128
    prototypes: Annotated[int, POSITIVE] = 3000
    local_prototypes: Annotated[int, POSITIVE] = 3000
    init: str | None = None  # a checkpoint to start from, of any layout `python -m golang.weights` knows
    init_sha256: str = ""  # of that file; filled in when the settings are read


@dataclass(frozen=True)
class Optim:
    epochs: Annotated[int, POSITIVE] = 400
    batch_size: Annotated[int, POSITIVE] = 128  # images a step, over all ranks
    base_lr: Annotated[float, POSITIVE] = 0.6
    final_lr: Annotated[float, NATURAL] = 0.0006
    start_lr: Annotated[float, NATURAL] = 0.0  # where the warm-up starts
    warmup_epochs: Annotated[int, NATURAL] = 0
    weight_decay: Annotated[float, NATURAL] = 1e-6
    momentum: Annotated[float, Range(lambda momentum: 0 <= momentum < 1, "be from 0 to below 1")] = 0.9
    trust: Annotated[float, POSITIVE] = 1e-3  # LARC's eta
    freeze_iterations: Annotated[int, NATURAL] = 5005  # steps in which no prototype learns
    larc: Literal["own", "apex"] = "own"
    adapt_bias_and_norm: bool = True  # False: no LARC and no decay for biases and batch norm


@dataclass(frozen=True)
class Augment:
    large_size: Annotated[int, POSITIVE] = 224
    large_scale: Annotated[tuple[float, float], PART] = (0.14, 1.0)  # share of the image's area
    small_count: Annotated[int, NATURAL] = 6
    small_size: int = 96
    small_scale: Annotated[tuple[float, float], PART] = (0.05, 0.14)
    flip_probability: Annotated[float, SHARE] = 0.5
    color_probability: Annotated[float, SHARE] = 0.8
    brightness: Annotated[float, NATURAL] = 0.8
    contrast: Annotated[float, NATURAL] = 0.8
    saturation: Annotated[float, NATURAL] = 0.8
    hue: Annotated[float, Range(lambda hue: 0 <= hue <= 0.5, "be from 0 to 0.5 (half the colour circle)")] = 0.2
    gray_probability: Annotated[float, SHARE] = 0.2
    blur_probability: Annotated[float, SHARE] = 0.5
    blur_radius: Annotated[tuple[float, float], PIXELS] = (0.1, 2.0)  # pixels of the crop


@dataclass(frozen=True)
class Checkpoint:
    every_minutes: Annotated[float, POSITIVE] = 10.0
    every_steps: Annotated[int, NATURAL] = 0  # 0: by the clock alone
    keep_last: Annotated[int, POSITIVE] = 2
    keep_every_epochs: Annotated[int, NATURAL] = 50  # 0: none


@dataclass(frozen=True)
class Evaluation:
    probe: bool = False  # once trained: a linear probe of the frozen features, beside that of a random trunk
    probe_every_epochs: Annotated[int, NATURAL] = 0  # while training; 0: never
    # Once trained, or of `checkpoint`: SS-PRL's protocols, nearest neighbours; one or several.
    protocol: tuple[Literal["linear_coco", "linear_voc", "semisup_coco_1", "semisup_coco_10", "knn"], ...] = ()
    published: bool = False  # semi-supervised evaluation leaves the trunk as it is
    root: str | None = None  # folder of the protocol's images, if they are not below data.root
    checkpoint: str | None = None  # train nothing, evaluate this: a file of any layout, or a run's folder
    checkpoint_sha256: str = ""  # of that file; filled in when the settings are read
    run: str = ""  # the id of the run, in the folder `checkpoint`, whose end is evaluated; set by who trains it


@dataclass(frozen=True)
class Tracking:
    """Weights & Biases. metrics.jsonl in the run's folder is written in any case."""

    name: Literal["none", "offline", "wandb"] = "none"
    project: str | None = None  # null: golang
    entity: str | None = None  # null: the key's owner
    tags: tuple[str, ...] = ()
    notes: str | None = None


@dataclass(frozen=True)
class Config:
    name: str = ""  # another name is another run
    sweep: str = "runs"  # the folder of runs this one belongs to
    seed: Annotated[int, NATURAL] = 31
    # auto: bf16 on a GPU that computes in it, else fp32; another machine may go on in the other, with a warning.
    precision: Literal["auto", "fp16", "bf16", "fp32", "fp64"] = "fp16"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    deterministic: bool = False  # bit-identical on CUDA too, at some speed
    log_every_steps: Annotated[int, POSITIVE] = 50
    hang_seconds: Annotated[float, NATURAL] = 600.0  # without a step or a save until the attempt is ended; 0: never
    data: Data = field(default_factory=Data)
    method: Method = field(default_factory=Method)
    attention: Attention = field(default_factory=Attention)
    cross_view: CrossView = field(default_factory=CrossView)
    queue: Queue = field(default_factory=Queue)
    model: Model = field(default_factory=Model)
    optim: Optim = field(default_factory=Optim)
    augment: Augment = field(default_factory=Augment)
    checkpoint: Checkpoint = field(default_factory=Checkpoint)
    evaluation: Evaluation = field(default_factory=Evaluation)
    tracking: Tracking = field(default_factory=Tracking)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Config:
        """Settings from plain data. Raises ConfigError for an unknown key or a wrong type; whoever trains checks the
        rest (`golang.config.checks`)."""
        config: Config = build(cls, values)
        return config

    def to_dict(self) -> dict[str, Any]:
        """Plain data (dicts, lists, scalars) that `from_dict` reads back to an equal Config."""
        plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))  # which makes lists of tuples
        return plain
