"""The page as HTML: template, style, scripts, the chart library and the data in one text that asks for nothing else.

Its Content-Security-Policy names the scripts by their hashes, so that no other runs, whatever the data hold.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import importlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from golang.errors import GolangError

# In the order in which they need each other.
SCRIPTS = (
    "base.js", "chart.js", "facts.js", "table.js", "curves.js", "effects.js", "times.js", "run.js", "compare.js",
    "pictures.js", "live.js", "main.js",
)  # fmt: skip


class MissingPageError(GolangError):
    """There is nothing to make the page with."""


@dataclass(frozen=True)
class Live:
    """Where the page hears of what is new: `events?token=…` and `log?…&token=…`, beside it."""

    token: str


def render(payload: Mapping[str, Any], live: Live | None = None) -> str:
    """The page that shows `payload`; with `live` it follows what goes on. Raises MissingPageError."""
    jinja2, library = _module("jinja2"), _library()
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, keep_trailing_newline=True)
    script = '"use strict";\n(() => {\n' + "\n".join(_asset(name) for name in SCRIPTS) + "})();\n"
    policy = {
        "default-src": "'none'",
        "script-src": f"'{digest(script)}' '{digest(library)}'",
        "style-src": "'unsafe-inline'",  # which the chart library sets
        "img-src": "data:",
        "connect-src": "'self'" if live else "'none'",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    safe = jinja2.utils.markupsafe.Markup
    template = environment.from_string(_asset("page.html.j2"))
    text: str = template.render(
        name=payload["sweep"]["name"],
        policy=safe("; ".join(f"{key} {value}" for key, value in policy.items())),
        style=safe(_asset("style.css")),
        script=safe(script),
        library=safe(_small(library)),
        data=safe(as_json(payload)),
        live=safe(as_json({"token": live.token if live else None})),
    )
    return text


def as_json(value: object) -> str:
    """JSON that ends no script element and is a part of no markup, whatever it holds."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def digest(script: str) -> str:
    """How a Content-Security-Policy names a script."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _module(name: str) -> Any:  # noqa: ANN401 - it has no types here
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingPageError(f"the page needs Jinja2 and Plotly ({error}): pip install jinja2 plotly") from error


@cache
def _library() -> str:
    """Plotly's script. Raises MissingPageError."""
    text: str = _module("plotly.offline").get_plotlyjs()
    return text.replace("\r\n", "\n")  # as a browser reads it, whose hash counts


@cache
def _small(text: str) -> str:
    return base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()


def _asset(name: str) -> str:
    return files("launch.report.web").joinpath("assets", name).read_text(encoding="utf-8")
