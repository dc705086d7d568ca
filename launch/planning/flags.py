"""Options beside the settings: --help, --cfg, shell completion."""

from __future__ import annotations

import argparse
import contextlib
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins
from hydra.plugins.completion_plugin import CompletionPlugin
from omegaconf import DictConfig, OmegaConf

from golang.config import nearest, refuse_secret
from golang.errors import ConfigError
from golang.sources import program
from launch.planning.compose import ERRORS, choices, composing, groups
from launch.planning.words import KEYS


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message}; --help lists the options")


def read(arguments: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """Options and the other words. Raises ConfigError for an option that is none, or is given wrongly."""
    parser = _parser()
    options, unknown = parser.parse_known_intermixed_args(arguments)
    words: list[str] = options.words
    for option in unknown:
        key, _, value = option.lstrip("-").partition("=")
        refuse_secret(key)
        known = [name for action in parser._actions for name in action.option_strings]
        right = f"; a setting is typed without dashes: {key}={value or '…'}" if key in KEYS else nearest(option, known)
        raise ConfigError(f"{option} is no option{right}")
    if options.info:
        raise ConfigError(
            "--info is Hydra's; here --cfg job shows the settings, and --cfg hydra from which folders and files they "
            "were composed (runtime.config_sources and runtime.choices)"
        )
    if options.resolve and not options.cfg:
        raise ConfigError("--resolve goes with --cfg")
    if options.config_dir is not None:
        if not Path(options.config_dir).is_dir():
            raise ConfigError(f"--config-dir={options.config_dir} is no folder")
        words.insert(0, f"hydra.searchpath=['file://{Path(options.config_dir).absolute()}']")
    return options, words


def _parser() -> argparse.ArgumentParser:
    listed = "".join(f"  {group}={'|'.join(choices(group))}\n" for group in sorted(groups()))
    parser = _Parser(
        program(), f"{program()} [GROUP=CHOICE …] [SETTING=VALUE …] [option …]", add_help=False,
        epilog=f"groups, the folders of configs/:\n{listed}\n--cfg job lists the settings, with their values",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add = parser.add_argument
    add("words", nargs="*", help=argparse.SUPPRESS)
    add("--help", "-h", "--hydra-help", action="help", help="this")
    add("--version", action="version", version=f"Hydra {hydra.__version__}", help="Hydra's")
    add("--cfg", "-c", choices=("job", "hydra", "all"), help="show the settings, Hydra's own or both, and do nothing")
    add("--package", "-p", metavar="KEY", help="of what --cfg shows, this section")
    add("--resolve", action="store_true", help="show values in place of their interpolations")
    add("--shell-completion", "-sc", action="store_true", help="install=bash prints what `eval` takes; also zsh, fish")
    add("--config-dir", "-cd", metavar="FOLDER", help="one more folder of settings")
    add("--run", "-r", "--multirun", "-m", action="store_true", help="taken and not needed: a comma makes a grid")
    add("--info", "-i", nargs="?", const="all", help=argparse.SUPPRESS)
    return parser


def show_settings(settings: DictConfig, options: argparse.Namespace) -> None:
    """--cfg, with --package and --resolve. Raises ConfigError for a section that isn't there."""
    keys = [str(key) for key in settings if options.cfg == "all" or (key == "hydra") is (options.cfg == "hydra")]
    OmegaConf.set_readonly(settings.hydra, None)
    shown: Any = OmegaConf.masked_copy(settings, keys)
    if options.package not in (None, "_global_"):
        shown = OmegaConf.select(shown, options.package)
        if shown is None:
            raise ConfigError(f"--package={options.package}: there is no such section{nearest(options.package, KEYS)}")
        if not OmegaConf.is_config(shown):
            return print(shown)
        print(f"# @package {options.package}")
    if options.resolve:
        OmegaConf.resolve(shown)
    print(OmegaConf.to_yaml(shown), end="")


def complete(words: Sequence[str]) -> None:
    """-sc: what a shell runs once, or asks at each Tab (`query=`). Raises ConfigError for anything else."""
    action, _, shell = " ".join(words).partition("=")
    plugins: dict[str, Any] = {kind.provides(): kind for kind in Plugins.instance().discover(CompletionPlugin)}  # type: ignore[attr-defined]
    if action not in ("install", "uninstall", "query") or shell not in plugins:
        raise ConfigError(f"-sc takes install=SHELL, uninstall=SHELL or query=SHELL; SHELL is {', '.join(plugins)}")
    with composing(re.findall(r" sweep=(\S+)", os.environ.get("COMP_LINE", ""))):
        plugin = plugins[shell](GlobalHydra.instance().config_loader())
        if action != "query":
            getattr(plugin, action)()
        else:
            with contextlib.suppress(*ERRORS):  # what was typed so far says nothing yet
                plugin.query("config")
