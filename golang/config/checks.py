"""Settings that cannot work together, refused before any data is read."""

from __future__ import annotations

import importlib.util

from golang.config.labels import has_labels
from golang.config.reading import check_ranges
from golang.config.schema import Config, Data, Evaluation
from golang.errors import ConfigError

# Feature-map channels of each trunk: what the group heads must divide.
TRUNK_CHANNELS = {
    "small": 128, "resnet18": 512, "resnet34": 512, "resnet50": 2048, "resnet101": 2048,
    "wide_resnet50_2": 2048, "wide_resnet101_2": 2048,
}  # fmt: skip
ON_ANY_OBJECTS = ("detect", "segment")  # evaluations on the boxes or masks of the set of `data`, whichever it is
ON_ANY_SET = ("linear", "semisup", *ON_ANY_OBJECTS)  # and these on its labels
TRANSFER = ("detect_coco", "detect_voc", "segment_voc", *ON_ANY_OBJECTS)  # which fine-tune on boxes or class maps
NUMBERS = {
    "epochs": ON_ANY_SET,
    "batch_size": ON_ANY_SET,
    "lr": ON_ANY_SET,
    "share": ("semisup",),
    "frozen": ON_ANY_OBJECTS,
}  # of an evaluation's, and of which
ALIKE = ("detect_voc",)  # SS-PRL ran it as it is run here, so evaluation.published says nothing of it
NO_OPENCV = (
    "data.pipeline=opencv needs OpenCV, which cannot be imported here; `pip install opencv-python-headless`, or choose "
    "data.pipeline=device or pil (which make another run of it)"
)


NO_SCORER = (
    "evaluation={} is scored by faster-coco-eval, which cannot be imported here; `pip install 'faster-coco-eval>=1.8'`"
)


def check(config: Config) -> None:
    """Raises ConfigError for the first setting that is wrong by itself or with the others."""
    check_sweep(config.sweep)
    check_ranges(config)
    check_data(config.data)
    evaluation, augment, optim = config.evaluation, config.augment, config.optim
    if evaluation.probe_every_epochs and not has_labels(config.data):
        raise ConfigError(
            f"evaluation.probe_every_epochs={evaluation.probe_every_epochs} needs labels, and data={config.data.name} "
            "has none, or none to measure on; set it to 0"
        )
    if config.method.epsilon < 0.025:
        raise ConfigError(
            f"method.epsilon={config.method.epsilon} is too small: exp(−2/ε) leaves fp32's range; use 0.025 or more"
        )
    if config.cuda_graphs and config.device == "cpu":
        raise ConfigError("cuda_graphs=true needs a GPU, and device=cpu; leave one of them away")
    if config.data.pipeline == "opencv" and importlib.util.find_spec("cv2") is None:
        raise ConfigError(NO_OPENCV)
    _check_model(config)
    if augment.small_count and not 0 < augment.small_size < augment.large_size:
        raise ConfigError(
            f"augment.small_size={augment.small_size} must be below augment.large_size={augment.large_size}: "
            "each size is its own batch-norm group; for no small crops set augment.small_count=0"
        )
    if optim.warmup_epochs > optim.epochs:
        raise ConfigError(
            f"optim.warmup_epochs={optim.warmup_epochs} is longer than the run, optim.epochs={optim.epochs}; "
            f"set it to at most {optim.epochs}"
        )
    _check_queues(config)
    if evaluation.checkpoint is not None and not evaluation.protocol:
        raise ConfigError(
            f"checkpoint={evaluation.checkpoint} is to be evaluated; say how: evaluation=linear_coco, "
            "linear_voc, semisup_coco_1, semisup_coco_10, detect_coco, detect_voc, segment_voc; on any labelled set "
            "linear, semisup or knn; on any set with boxes or masks detect or segment (several as "
            "evaluation=[linear,knn])"
        )
    _check_numbers(evaluation)
    by_coco = [name for name in evaluation.protocol if name in ("detect", "detect_coco")]
    if by_coco and importlib.util.find_spec("faster_coco_eval") is None:
        raise ConfigError(NO_SCORER.format(by_coco[0]))


def check_data(data: Data) -> None:
    """Raises ConfigError for settings of one's own sets that the set `data.name` does not have."""
    parts = {"train": data.train, "val": data.val}
    typed = [f"data.{split}.images" for split, part in parts.items() if part.images]
    typed += [f"data.{split}.annotations" for split, part in parts.items() if part.annotations is not None]
    own = {"folder": ("data.train.images",), "list": ("data.train.images", "data.val.images"), "coco": tuple(typed)}
    if odd := [key for key in typed if key not in own.get(data.name, ())]:
        theirs = {"data.train.images": "folder, list or coco", "data.val.images": "list or coco"}.get(odd[0], "coco")
        raise ConfigError(f"{odd[0]} goes with data={theirs}, and this is data={data.name}; leave it out")
    if data.root is not None and any("train" in key for key in typed):
        raise ConfigError(f"data.root={data.root} and {typed[0]} both say what to train on; leave one of them out")
    if data.holdout and data.name not in ("list", "coco"):
        raise ConfigError(f"data.holdout={data.holdout} goes with data=list or coco, and this is data={data.name}")
    if data.holdout and any("val" in key for key in typed):
        held = "is for a set without images to evaluate on"
        raise ConfigError(f"data.holdout={data.holdout} {held}, and {typed[-1]} names some; leave one of them out")
    if not data.separator:
        raise ConfigError("data.separator must be text that stands between labels, as in data.separator='|'")


def check_world(config: Config, world_size: int) -> None:
    """Raises ConfigError if the global batch cannot be cut into `world_size` equal parts, and each of these into
    `optim.accumulate` micro-batches."""
    batch, accumulate = config.optim.batch_size, config.optim.accumulate
    if "optim.batch_size" in config.recipe.left and not config.recipe.size:
        return  # it will be chosen to divide
    if batch % world_size:
        below = batch - batch % world_size
        raise ConfigError(
            f"optim.batch_size={batch} does not divide by {world_size} ranks; "
            f"try optim.batch_size={below or world_size} or another number of ranks"
        )
    if (share := batch // world_size) % accumulate:
        good = [str(parts) for parts in range(1, share + 1) if share % parts == 0]
        raise ConfigError(
            f"a rank's {share} images of optim.batch_size={batch} do not divide by optim.accumulate={accumulate}; "
            f"try one of {', '.join(good)}"
        )


def local_views(config: Config) -> int:
    """Local views a large crop: n = feature_dim / group_heads; 0 for SwAV."""
    return config.model.feature_dim // config.model.group_heads if config.method.name == "golang" else 0


def local_queue_length(config: Config) -> int:
    """Rows a view of the local queue over all ranks, rounded down to whole steps."""
    step = config.optim.batch_size * local_views(config)
    return config.queue.local_length - config.queue.local_length % step if step else 0


def queue_length(config: Config) -> int:
    """Rows a view of the global queue over all ranks, rounded down to whole steps."""
    return config.queue.length - config.queue.length % config.optim.batch_size


def check_sweep(sweep: str) -> None:
    """Raises ConfigError for a name that is not one of a folder."""
    if sweep in ("", ".", "..") or "/" in sweep or not sweep.isprintable() or len(sweep.encode()) > 200:
        raise ConfigError(
            f"sweep={sweep!r} must be the name of one folder, of at most 200 bytes; runs_dir=PATH says where it is"
        )


def _check_numbers(evaluation: Evaluation) -> None:
    if evaluation.published and evaluation.protocol and {*evaluation.protocol} <= {*ALIKE}:
        raise ConfigError(
            f"evaluation.published=true changes nothing of evaluation={evaluation.protocol[0]}, which SS-PRL ran as it "
            "is run here; leave it out"
        )
    for number, whose in NUMBERS.items():
        value = getattr(evaluation, number)
        if evaluation.protocol and value != getattr(Evaluation(), number) and not {*whose} & {*evaluation.protocol}:
            raise ConfigError(
                f"evaluation.{number}={value} is a number of evaluation={' and '.join(whose)}, which "
                f"evaluation=[{','.join(evaluation.protocol)}] does not ask for; leave it out"
            )


def _check_model(config: Config) -> None:
    model = config.model
    if model.trunk not in TRUNK_CHANNELS:
        raise ConfigError(f"model.trunk={model.trunk!r} is not one of {', '.join(TRUNK_CHANNELS)}")
    if config.optim.larc == "apex" and not config.optim.adapt_bias_and_norm:
        raise ConfigError("optim.adapt_bias_and_norm=false needs optim.larc=own: apex adapts every parameter")
    if config.method.name == "swav":
        return
    for what, size in (("model.feature_dim", model.feature_dim), ("channels", TRUNK_CHANNELS[model.trunk])):
        if size % model.group_heads:
            shown = f"the {size} channels of {model.trunk}" if what == "channels" else f"{what}={size}"
            good = [h for h in range(1, 129) if model.feature_dim % h == 0 and TRUNK_CHANNELS[model.trunk] % h == 0]
            raise ConfigError(
                f"model.group_heads={model.group_heads} does not divide {shown}; try one of {', '.join(map(str, good))}"
            )


def _check_queues(config: Config) -> None:
    queue, batch = config.queue, config.optim.batch_size
    if queue.length and queue_length(config) == 0:
        raise ConfigError(
            f"queue.length={queue.length} is shorter than a batch, optim.batch_size={batch}; "
            f"set it to a multiple of {batch}, or to 0 for no queue"
        )
    if queue.local_length and config.method.name == "swav":
        raise ConfigError(f"queue.local_length={queue.local_length} needs method=golang: SwAV has no local views")
    rows = batch * local_views(config)
    if queue.local_length and local_queue_length(config) == 0:
        raise ConfigError(
            f"queue.local_length={queue.local_length} is shorter than a batch's {rows} local views "
            f"(optim.batch_size × model.feature_dim / model.group_heads); set it to a multiple of {rows}, or to 0"
        )
