"""What is typed: our words in Hydra's grammar, and what of them cannot be meant."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

from golang.config import Config, keys, nearest, refuse_secret
from golang.config.checks import check_sweep
from golang.errors import ConfigError
from launch.planning.compose import choices, groups
from launch.settings import Launch

KEYS = [*keys(Config), *keys(Launch)]
_WEIGHTS = ("checkpoint", "evaluation.checkpoint", "model.init")
_TEXTS = {f"cluster.{name}" for name in ("nodelist", "exclude", "gres", "constraint", "dependency")}
_FOR_ALL = ("cluster", "sweep", "runs_dir", "dry_run", "code")  # the same for all runs of a command


def read(words: Sequence[str]) -> list[Override]:
    """The overrides that were typed. Raises ConfigError for a word that is none, a key that doesn't exist (naming the
    nearest), a choice that isn't there, and a grid without a cluster."""
    known, parser, overrides = [*KEYS, *sorted(groups())], OverridesParser.create(), []
    for word, after in zip(words, [*words[1:], ""], strict=False):
        if "=" not in word and not word.startswith("~"):
            refuse_secret(word)
            value = "" if "=" in after else after
            right = f": {word}={value or '…'}" if word in known else nearest(word, known)
            raise ConfigError(f"{f'{word} {value}'.strip()}: a setting is typed as KEY=VALUE{right}")
    for word in translated(words):
        try:
            overrides.append(parser.parse_override(word))
        except HydraException as error:
            reason = str(error).partition("\n")[0]
            raise ConfigError(f"can't read {word!r}: {reason}; quote odd text twice, as in \"key='a[b'\"") from error
    submits = any(o.key_or_group == "cluster" and o.value() in ("slurm", "local") for o in overrides)
    for override in overrides:
        _check(override, known, submits)
    return overrides


def _check(override: Override, known: list[str], submits: bool) -> None:
    key, value, typed, grid = override.key_or_group, override.value(), override.input_line, override.is_sweep_override()
    if not key.startswith(("hydra.", "hydra/", "cluster.env.", "cluster.extra.")) and key not in known:
        refuse_secret(key)
        raise ConfigError(f"unknown setting {typed}{nearest(key, known)}")
    if key == "sweep" and isinstance(value, str):
        check_sweep(value)  # before Hydra looks for a file of that name
    elif key in groups():
        single = not (grid or isinstance(value, list) or (value is None and override.is_delete()))
        if single and value not in choices(key):
            raise ConfigError(f"{typed}: there is no such {key}; choose one of {', '.join(choices(key))}")
    if not submits and (grid or (key == "sweep" and value in choices("sweep"))):
        raise ConfigError(
            f"{typed} is a grid of several runs: say where they go with cluster=slurm or cluster=local, or give one "
            "value (quote one that contains a comma)"
        )
    if grid and (key in _FOR_ALL or key.startswith("hydra")):
        raise ConfigError(f"{typed}: {key} is the same for all runs of a command; give one value")


def translated(words: Sequence[str]) -> list[str]:
    """Words in Hydra's grammar where ours is another.

    Slurm's own notation: n[1-4,7] is text, and so are node lists with commas. Names below env and extra are in no
    schema, which Hydra wants to be told. evaluation=[a,b] is a list of protocols, where Hydra would have the last of
    two files win; checkpoint=PATH is what is evaluated, in no experiment but one of evaluations. A run's folder is
    named by its settings, with = and commas.
    """
    found = []
    for word in words:
        key, _, value = word.partition("=")
        if key in _WEIGHTS and _is_one_name(value):
            value = f"'{value}'"
        if key.startswith(("cluster.env", "cluster.extra")):
            found.append(f"++{word}")
        elif key in _TEXTS and value and value[0] not in "'\"[" and value != "null":
            found.append(f"{key}='{value}'")
        elif key == "sweep" and value.isdecimal():
            found.append(f"sweep='{value}'")  # a name, even if it is a year
        elif key == "evaluation" and value.startswith("[") and value.endswith("]"):
            names = [name.strip() for name in value[1:-1].split(",") if name.strip()]
            whole = "probe" if "probe" in names else names[0] if names else "none"
            listed = ",".join(name for name in names if name != "probe")
            found += [f"evaluation={whole}", f"evaluation.protocol=[{listed}]"]
        elif key == "checkpoint":
            found.append(f"evaluation.checkpoint={value}")
            if not any(other.startswith(("experiment=", "data=")) for other in words):
                found.append("experiment=evaluate")
        else:
            found.append(f"{key}={value}" if key in _WEIGHTS else word)
    return found


def _is_one_name(value: str) -> bool:
    """Whether a word names one file, folder or run that Hydra's grammar would not take as it is."""
    odd = "=" in value or ("," in value and Path(value).expanduser().exists())
    return odd and not set("'\"") & set(value)
