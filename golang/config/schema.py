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

from golang.config.reading import AT_LEAST_1, NATURAL, PART, PIXELS, POSITIVE, SHARE, Range, build

LEFT = ("epochs", "batch_size", "base_lr", "final_lr", "freeze_iterations")  # what optim can leave to the recipe
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
class Part:
    """One split of a set of one's own: what `data=folder`, `list` and `coco` read."""

    images: tuple[str, ...] = ()  # folders of images; for list: lists, too
    annotations: str | None = None  # for coco: the file of instances; without images, they are looked for beside it
    fingerprint: str = ""  # of names, sizes and labels; filled in when the settings are read


@dataclass(frozen=True)
class Data:
    name: Literal[
        "coco", "coco2014", "coco2017", "folder", "imagenet", "list", "toy", "voc0712", "voc2007", "voc2012", "voc_sbd"
    ] = "coco2014"  # fmt: skip
    root: str | None = None  # folder that holds the images; for list: the list; for toy: where to write them
    train: Part = field(default_factory=Part)
    val: Part = field(default_factory=Part)
    separator: str = ";"  # of the labels in one cell of a list
    # Of list and coco without images to evaluate on: this share of the labelled ones, which are not trained on.
    holdout: Annotated[float, Range(lambda share: 0 <= share < 1, "be from 0 to below 1")] = 0.0
    workers: Annotated[int, NATURAL] = 8  # loader processes a rank
    # Who changes pixels: Pillow; OpenCV, at a third of the time; or the device, which leaves the loader a fifth of it.
    pipeline: Literal["pil", "opencv", "device"] = "pil"
    toy: Toy = field(default_factory=Toy)
    stage: str | None = None  # folder of a node's own, such as $TMPDIR, to which a pack's files are copied first
    keep_staged: bool = True  # False: the copy is removed once no run on the node uses it


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
    accumulate: Annotated[int, AT_LEAST_1] = 1  # micro-batches a step; batch norm sees one at a time, over all ranks
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
    folder: str | None = None  # checkpoints lie in a folder of the run's name below it; null: in the run's own


@dataclass(frozen=True)
class Evaluation:
    probe: bool = False  # once trained: a linear probe of the frozen features, beside that of a random trunk
    probe_every_epochs: Annotated[int, NATURAL] = 0  # while training; 0: never
    # Once trained, or of `checkpoint`: SS-PRL's protocols, the same on any labelled set, nearest neighbours; detection
    # and segmentation, published and on any set; several.
    protocol: tuple[
        Literal[
            "linear_coco", "linear_voc", "semisup_coco_1", "semisup_coco_10", "knn", "linear", "semisup",
            "detect_coco", "detect_voc", "segment_voc", "detect", "segment",
        ], ...
    ] = ()  # fmt: skip
    # Of `linear`, `semisup`, `detect` and `segment`, which any set is measured by; null: the published number.
    epochs: Annotated[int | None, POSITIVE] = None
    batch_size: Annotated[int | None, POSITIVE] = None
    lr: Annotated[float | None, POSITIVE] = None  # the head's; semisup's trunk has a hundredth of it
    share: Annotated[float, Range(lambda share: 0 < share <= 1, "be above 0 and at most 1")] = 0.1  # semisup's labels
    frozen: bool = False  # detect and segment leave the trunk as it is
    # As SS-PRL ran it: semi-supervised evaluation leaves the trunk as it is; detect_coco (so detect) has BGR input,
    # segment_voc (so segment) five times the rate; the others are no other.
    published: bool = False
    root: str | None = None  # where the protocol's images are, if they are not at data.root
    checkpoint: str | None = None  # train nothing, evaluate this: a file of any layout, or a run's folder
    checkpoint_sha256: str = ""  # of that file; filled in when the settings are read
    objects_sha256: str = ""  # of the annotations of one's own set that detect or segment learns; so too
    run: str = ""  # the id of the run, in the folder `checkpoint`, whose end is evaluated; set by who trains it


@dataclass(frozen=True)
class Tracking:
    """Weights & Biases. metrics.jsonl in the run's folder is written in any case."""

    name: Literal["none", "offline", "wandb"] = "none"
    # null or empty: what W&B's own WANDB_PROJECT, _ENTITY, _TAGS and _NOTES say
    project: str | None = None  # else golang
    entity: str | None = None  # else the key's owner
    tags: tuple[str, ...] = ()
    notes: str | None = None


@dataclass(frozen=True)
class Recipe:
    """What is null in the settings is chosen when a run begins, for so many images and ranks."""

    left: tuple[str, ...] = ()  # the settings to choose
    size: Annotated[int, NATURAL] = 0  # images of the set; 0: not chosen yet
    ranks: Annotated[int, NATURAL] = 0
    gpus: bool = False  # whether the ranks compute on GPUs


@dataclass(frozen=True)
class Config:
    name: str = ""  # another name is another run
    sweep: str = "runs"  # the folder of runs this one belongs to
    seed: Annotated[int, NATURAL] = 31
    # auto: bf16 on a GPU that computes in it, else fp32; another machine may go on in the other, with a warning.
    precision: Literal["auto", "fp16", "bf16", "fp32", "fp64"] = "fp16"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    deterministic: bool = False  # bit-identical on CUDA too, at some speed
    cuda_graphs: bool = False  # the trunk in one launch a pass: for steps that wait for launches
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
    recipe: Recipe = field(default_factory=Recipe)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Config:
        """Settings from plain data; null leaves one of LEFT to the recipe. Raises ConfigError for an unknown key or a
        wrong type; whoever trains checks the rest (`golang.config.checks`)."""
        optim = values.get("optim")
        if isinstance(optim, Mapping) and (left := [name for name in LEFT if name in optim and optim[name] is None]):
            kept = {name: value for name, value in optim.items() if name not in left}
            values = {**values, "optim": kept, "recipe": {"left": [f"optim.{name}" for name in left]}}
        config: Config = build(cls, values)
        return config

    @classmethod
    def own(cls, values: Mapping[str, Any]) -> Config:
        """As `from_dict`, on the recipe for one's own images in place of the published one: what `data=folder`, `list`
        or `coco` starts from on the command line. The batch and the learning rate follow the GPUs, the epochs the
        number of images."""
        optim = {**dict.fromkeys(LEFT), **values.get("optim", {})}
        return cls.from_dict({"precision": "auto", **values, "optim": optim})

    def to_dict(self) -> dict[str, Any]:
        """Plain data (dicts, lists, scalars) that `from_dict` reads back to an equal Config."""
        plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))  # which makes lists of tuples
        return plain
