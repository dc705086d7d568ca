"""What the site does to a page: a link to the code, which the site does not hold, becomes its text."""

from __future__ import annotations

import re
from typing import Any

_OUTSIDE = re.compile(r"(?<!!)\[([^\]]+)\]\(\.\./[^)]*\)")


def on_page_markdown(markdown: str, **_: Any) -> str:  # noqa: ANN401 - whatever MkDocs hands on
    return _OUTSIDE.sub(r"\1", markdown)
