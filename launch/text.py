"""What others may have written, made fit for a terminal: it must neither steer it nor hide a part of what it says."""

from __future__ import annotations

import shlex
from collections.abc import Sequence


def plain(text: str, keep: str = "") -> str:
    """`text` with every character that does not print, but for those of `keep`, as Python writes it: \\x1b."""
    return "".join(
        character if character.isprintable() or character in keep else ascii(character)[1:-1] for character in text
    )


def shown(words: Sequence[str]) -> str:
    """Words as a shell reads them back, all characters of which print."""
    return " ".join(shlex.quote(word) if word.isprintable() else _escaped(word) for word in words)


def _escaped(word: str) -> str:
    """In Bash's $'…'."""
    characters = (
        "\\" + character if character in "\\'" else character if character.isprintable()
        else "".join(f"\\{byte:03o}" for byte in character.encode(errors="surrogateescape"))
        for character in word
    )  # fmt: skip
    return "$'" + "".join(characters) + "'"
