"""The pages of the documentation, and what they hold."""

import re
from pathlib import Path
from typing import NamedTuple

from docs.tools.snippets import ROOT, blocks_of

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
_FENCED = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
_CODE = re.compile(r"`([^`]+)`")
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_MESSAGES = re.compile(r"^\| `.*?` \|", re.MULTILINE)
"""The first column of a table, as far as it is code; in troubleshooting what an error says."""

_COMMENT = re.compile(r"\s+#.*")


class Said(NamedTuple):
    """Something that a page says, and where."""

    page: str
    text: str


def prose_of(page: Path) -> str:
    """A page without its fenced blocks, and without messages of errors."""
    prose = _FENCED.sub("", page.read_text())
    return _MESSAGES.sub("|  |", prose) if page.stem == "troubleshooting" else prose


def code_in_prose() -> list[Said]:
    """All code within lines, its line breaks gone."""
    return [Said(page.name, " ".join(code.split())) for page in PAGES for code in _CODE.findall(prose_of(page))]


def links() -> list[Said]:
    """All links that are not to the web."""
    found = [Said(page.name, link) for page in PAGES for link in _LINK.findall(prose_of(page))]
    return [said for said in found if not said.text.startswith(("http://", "https://"))]


def commands() -> list[Said]:
    """All shell commands: the lines of shell blocks, and what within a line begins like one."""
    lines = [
        Said(page.name, _COMMENT.sub("", line).strip())
        for page in PAGES
        for block in blocks_of(page.read_text())
        if block.language == "sh"
        for line in block.text.splitlines()
    ]
    found = [
        Said(said.page, part.strip()) for said in [*lines, *code_in_prose()] for part in re.split(r"&&|;", said.text)
    ]
    return list({said.text: said for said in found if said.text}.values())


def anchors_of(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", prose_of(page), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
