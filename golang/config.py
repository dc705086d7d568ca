"""The trainer's settings: frozen dataclasses whose defaults are the published COCO 2014 recipe.

`Config.from_dict` turns plain data (from Hydra, a frozen run folder, or a caller) into checked settings; every
mistake is a `ConfigError` that names the key, the value and what to do. Defaults never change their meaning: a run's
identity counts only the settings that differ from them (`golang.identity`).
"""

from __future__ import annotations

import dataclasses
import difflib
import re
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from golang.errors import ConfigError

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
    workers: int = 8  # loader processes a rank
    # Who changes pixels: Pillow; OpenCV, at a third of the time; or the device, which leaves the loader a fifth of it.
    pipeline: Literal["pil", "opencv", "device"] = "pil"
    toy: Toy = field(default_factory=Toy)


@dataclass(frozen=True)
class Method:
    name: Literal["golang", "swav"] = "golang"
    temperature: float = 0.1
    epsilon: float = 0.05  # Sinkhorn's entropy
    sinkhorn_iterations: int = 3
    local_permutation: Literal["batch", "image", "matched"] = "batch"


@dataclass(frozen=True)
class Attention:
    temperature: float = 1.0


@dataclass(frozen=True)
class CrossView:
    detach: bool = True  # False: the cross-view loss trains the trunk too
    same_view: bool = True  # False: targets of the same view are left out


@dataclass(frozen=True)
class Queue:
    length: int = 3840  # embeddings a view, over all ranks
    local_length: int = 0  # local embeddings a view, over all ranks
    start_epoch: int = 7  # epochs count from 0


@dataclass(frozen=True)
class Model:
    trunk: str = "resnet50"
    group_heads: int = 4
    hidden_dim: int = 2048
    feature_dim: int = 128
    prototypes: int = 3000
    local_prototypes: int = 3000
    init: str | None = None  # a checkpoint to start from, of any layout golang.convert knows
    init_sha256: str = ""  # of that file; filled in when the settings are read


@dataclass(frozen=True)
class Optim:
    epochs: int = 400
    batch_size: int = 128  # images a step, over all ranks
    base_lr: float = 0.6
    final_lr: float = 0.0006
    start_lr: float = 0.0  # where the warm-up starts
    warmup_epochs: int = 0
    weight_decay: float = 1e-6
    momentum: float = 0.9
    trust: float = 1e-3  # LARC's eta
    freeze_iterations: int = 5005  # steps in which no prototype learns
    larc: Literal["own", "apex"] = "own"
    adapt_bias_and_norm: bool = True  # False: no LARC and no decay for biases and batch norm


@dataclass(frozen=True)
class Augment:
    large_size: int = 224
    large_scale: tuple[float, float] = (0.14, 1.0)  # share of the image's area
    small_count: int = 6
    small_size: int = 96
    small_scale: tuple[float, float] = (0.05, 0.14)
    flip_probability: float = 0.5
    color_probability: float = 0.8
    brightness: float = 0.8
    contrast: float = 0.8
    saturation: float = 0.8
    hue: float = 0.2
    gray_probability: float = 0.2
    blur_probability: float = 0.5
    blur_radius: tuple[float, float] = (0.1, 2.0)  # pixels of the crop


@dataclass(frozen=True)
class Checkpoint:
    every_minutes: float = 10.0
    every_steps: int = 0  # 0: by the clock alone
    keep_last: int = 2
    keep_every_epochs: int = 50  # 0: none


@dataclass(frozen=True)
class Evaluation:
    probe: bool = False  # once trained: a linear probe of the frozen features, beside that of a random trunk
    probe_every_epochs: int = 0  # while training; 0: never
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
    seed: int = 31
    # auto: bf16 on a GPU that computes in it, else fp32; another machine may go on in the other, with a warning.
    precision: Literal["auto", "fp16", "bf16", "fp32", "fp64"] = "fp16"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    deterministic: bool = False  # bit-identical on CUDA too, at some speed
    log_every_steps: int = 50
    hang_seconds: float = 600.0  # without a step or a save, after which the attempt is ended; 0: never
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
        """Checked settings from plain data. Raises ConfigError for an unknown key, a wrong type or a value that fails
        `golang.validation.check`."""
        from golang.initial import pinned
        from golang.validation import check

        config: Config = build(cls, values)
        check(config)
        return pinned(config)

    def to_dict(self) -> dict[str, Any]:
        """Plain data (dicts, lists, scalars) that `from_dict` reads back to an equal Config."""
        plain: dict[str, Any] = _plain(dataclasses.asdict(self))
        return plain


def looks_secret(name: str) -> bool:
    """Whether a value of that name should stay out of files."""
    found = re.search(r"(api|access|secret|private)_?key|passw|secret|credential|token(?!iz)", name, re.IGNORECASE)
    return found is not None and re.search(r"(file|path|dir)$", name, re.IGNORECASE) is None


def refuse_secret(name: str) -> None:
    """Raises ConfigError, without the value, for the name of a key or token: settings are written to files."""
    if looks_secret(name):
        raise ConfigError(
            f"{name} looks like a secret, and settings are written to files: give it by `wandb login`, ~/.netrc or "
            "the environment (a job has that of the shell that submits it), and type the command without it"
        )


def keys(cls: type[Any] = Config, prefix: str = "") -> list[str]:
    """Every dotted key of the settings, sections included."""
    found = []
    for name, kind in typing.get_type_hints(cls).items():
        found.append(prefix + name)
        if dataclasses.is_dataclass(kind):
            found += keys(typing.cast("type[Any]", kind), f"{prefix}{name}.")
    return found


def nearest(key: str, known: list[str]) -> str:
    """`known`'s member most like `key`, as the tail of an error message ('' if nothing is close)."""
    last = {k.rsplit(".", 1)[-1]: k for k in known}
    close = difflib.get_close_matches(key, known, n=1, cutoff=0.6)
    close = close or [last[k] for k in difflib.get_close_matches(key.rsplit(".", 1)[-1], list(last), n=1, cutoff=0.6)]
    return f" — did you mean {close[0]}?" if close else ""


def _plain(value: Any) -> Any:  # noqa: ANN401 - plain data of any shape
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return list(value) if isinstance(value, tuple) else value


def build(cls: type[Any], values: Any, path: str = "") -> Any:  # noqa: ANN401 - any section of the settings
    """A settings class from plain data. Raises ConfigError for an unknown key or a wrong type."""
    if not isinstance(values, Mapping):
        raise ConfigError(f"{path or 'the configuration'} must be a group of settings, got {values!r}")
    hints = typing.get_type_hints(cls)
    for key in values:
        if key not in hints:
            dotted = f"{path}.{key}" if path else str(key)
            refuse_secret(dotted)
            raise ConfigError(f"unknown setting {dotted}={values[key]!r}{nearest(dotted, keys())}")
    return cls(**{key: _coerce(hints[key], value, f"{path}.{key}" if path else key) for key, value in values.items()})


def _coerce(kind: Any, value: Any, path: str) -> Any:  # noqa: ANN401 - any type a setting has
    if dataclasses.is_dataclass(kind):
        return build(typing.cast("type[Any]", kind), value, path)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is Literal:
        if value not in arguments:
            raise ConfigError(f"{path}={value!r} is not one of {', '.join(map(str, arguments))}")
        return value
    if origin is tuple and arguments[-1] is Ellipsis:
        several = [] if value == "none" else [value] if isinstance(value, str) else value
        if not isinstance(several, (list, tuple)):
            raise ConfigError(f"{path}={value!r} must be a list, as in {path}=[a,b]")
        return tuple(_coerce(arguments[0], item, path) for item in several)
    if origin is tuple:
        if not isinstance(value, (list, tuple)) or len(value) != len(arguments):
            raise ConfigError(f"{path}={value!r} must be a list of {len(arguments)} numbers")
        return tuple(_coerce(kind, item, path) for kind, item in zip(arguments, value, strict=True))
    if origin in (types.UnionType, typing.Union):
        return None if value is None else _coerce(arguments[0], value, path)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not kind:
        raise ConfigError(f"{path}={value!r} must be {_NAMES[kind]}, got {type(value).__name__}")
    return value


_NAMES: dict[type[Any], str] = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
