"""Settings that cannot work together, refused before any data is read."""

from __future__ import annotations

import importlib.util

from golang.config.reading import check_ranges
from golang.config.schema import Config
from golang.errors import ConfigError

# Feature-map channels of each trunk: what the group heads must divide.
TRUNK_CHANNELS = {
    "small": 128, "resnet18": 512, "resnet34": 512, "resnet50": 2048, "resnet101": 2048,
    "wide_resnet50_2": 2048, "wide_resnet101_2": 2048,
}  # fmt: skip
NO_OPENCV = (
    "data.pipeline=opencv needs OpenCV, which cannot be imported here; `pip install opencv-python-headless`, or choose "
    "data.pipeline=device or pil (which make another run of it)"
)


def check(config: Config) -> None:
    """Raises ConfigError for the first setting that is wrong by itself or with the others."""
    check_sweep(config.sweep)
    check_ranges(config)
    evaluation, augment, optim = config.evaluation, config.augment, config.optim
    if evaluation.probe_every_epochs and config.data.name == "folder":
        raise ConfigError(
            f"evaluation.probe_every_epochs={evaluation.probe_every_epochs} needs labels, and data=folder has none; "
            "set it to 0"
        )
    if config.method.epsilon < 0.025:
        raise ConfigError(
            f"method.epsilon={config.method.epsilon} is too small: exp(−2/ε) leaves fp32's range; use 0.025 or more"
        )
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
            "linear_voc, semisup_coco_1, semisup_coco_10 or knn (several as evaluation=[linear_coco,knn])"
        )


def check_world(config: Config, world_size: int) -> None:
    """Raises ConfigError if the global batch cannot be cut into `world_size` equal parts."""
    batch = config.optim.batch_size
    if batch % world_size:
        below = batch - batch % world_size
        raise ConfigError(
            f"optim.batch_size={batch} does not divide by {world_size} ranks; "
            f"try optim.batch_size={below or world_size} or another number of ranks"
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
