"""What is typed: our words in Hydra's grammar, and what of them cannot be meant."""

from __future__ import annotations

import contextlib
import dataclasses
import re
from collections.abc import Sequence

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Override, Quote, QuotedString
from hydra.errors import HydraException

from golang.config import Config, keys, nearest, refuse_secret
from golang.config.checks import check_sweep
from golang.errors import ConfigError
from launch.planning import paths
from launch.planning.compose import choices, groups
from launch.settings import Cluster, Launch

KEYS = [*keys(Config), *keys(Launch)]
TEXTS = {f"cluster.{field.name}" for field in dataclasses.fields(Cluster) if "str" in str(field.type)}
_NEWS = "notify.command"  # a shell line
_LINES = ("cluster.setup", "cluster.container")  # lists of texts
_NOTES = {"tracking.project", "tracking.entity", "tracking.notes"}
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

    Settings of the cluster are text, with whatever Slurm or a shell reads in it: low,high and n[1-4,7] are one value
    each. Names below env and extra are in no schema, which Hydra wants to be told. tracking.tags=a,b are two tags.
    evaluation=[a,b] is a list of protocols, where Hydra would have the last of two files win; checkpoint=PATH is what
    is evaluated, in no experiment but one of evaluations. data=NAME without an experiment is for another recipe than
    the demo's. A path may have any character in it; data.root=[a,b] are several folders or lists.
    """
    found = []
    for word in words:
        key, _, value = word.partition("=")
        plain = key.lstrip("+")
        if plain in paths.KEYS:
            value = paths.value(plain, value)
            if plain == "data.root" and value.startswith("["):
                key = key.replace("data.root", "data.train.images")
        elif plain == "data.separator":
            value = paths.name(value)
        if plain.startswith(("cluster.env", "cluster.extra")):
            found.append(f"++{plain}={_text(value)}")
        elif plain in TEXTS or plain in _NOTES:
            found.append(f"{key}={value if plain in _LINES and value[:1] == '[' else _text(value)}")
        elif plain == _NEWS and not re.fullmatch(r"null|'.*'", value, re.DOTALL):
            line = value.replace("${", r"\${")  # a shell's, where OmegaConf would look for a setting
            found.append(f"{key}={QuotedString(line, Quote.single).with_quotes()}")
        elif key == "tracking.tags" and _is_listed(value):
            found.append(f"{key}=[{value}]")
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
            found.append(f"{key}={value}" if "=" in word else word)
    typed = {word.partition("=")[0] for word in words}
    named = typed.isdisjoint({"experiment", "checkpoint", "evaluation.checkpoint"})
    if "data" in typed and "data=toy" not in words and named:
        found.append("experiment=own")
    return found


def _text(value: str) -> str:
    """A value that is text, quoted where Hydra would read anything else. Lists, groups and choice(…), range(…) or
    glob(…) stay what they are."""
    if re.match(r"""['"{]|\w+\(""", value) or not value:
        return value
    if re.match(r"\[.*[|&*]", value):  # of constraints, where Slurm's own brackets count
        return QuotedString(value, Quote.single).with_quotes()
    with contextlib.suppress(HydraException):
        read = OverridesParser.create().parse_override(f"text={value}").value()
        number = isinstance(read, (int, float)) and not isinstance(read, bool)
        if not isinstance(read, ChoiceSweep) and not (number and str(read) != value):
            return value
    return QuotedString(value, Quote.single).with_quotes()


def _is_listed(value: str) -> bool:
    """Whether a grid is what Hydra would make of a value for its commas."""
    with contextlib.suppress(HydraException):
        read = OverridesParser.create().parse_override(f"list={value}").value()
        return isinstance(read, ChoiceSweep) and read.simple_form
    return False
