"""Every relative link of the README and the docs leads to a file, and to a heading that is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from golang.sources import ROOT
from tests.docs.blocks import outside, pages


def slug(heading: str) -> str:
    """The anchor of a heading."""
    text = re.sub(r"[`*_]|\[([^\]]*)\]\([^)]*\)", r"\1", heading.strip().lower())
    return re.sub(r"\s", "-", re.sub(r"[^\w\s-]", "", text).strip())


def anchors(page: Path) -> set[str]:
    return {slug(line.lstrip("#")) for line in outside(page.read_text()).splitlines() if re.match(r"#+ ", line)}


def links(page: Path) -> list[str]:
    return re.findall(r"\]\(([^)\s]+)\)", outside(page.read_text()))


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    broken = []
    for link in links(page):
        if re.match(r"\w+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or not target.is_relative_to(ROOT):
            broken.append(link)
        elif anchor and anchor not in anchors(target):
            broken.append(f"{link}: no such heading")
    assert broken == []


def test_a_broken_link_would_be_found() -> None:
    readme = ROOT / "README.md"
    assert "docs/trouble.md" in links(readme) and sum(len(links(page)) for page in pages()) > 80
    assert slug(" What is known of GPUs, and how") == "what-is-known-of-gpus-and-how"
    assert "exit-statuses" in anchors(ROOT / "docs/trouble.md") and "nowhere" not in anchors(readme)


def test_the_index_names_every_page() -> None:
    named = set(links(ROOT / "docs/index.md"))
    assert {page.name for page in (ROOT / "docs").glob("*.md")} - named == {"index.md"}
