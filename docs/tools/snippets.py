"""What the pages hold: fenced blocks, and Python blocks that run in order, as a reader would run them."""

import re
from collections.abc import Iterator
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[2]
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_NUMBER = re.compile(r"\d[\d,]*\.?\d*(?:e-?\d+)?")


class Block(NamedTuple):
    """A fenced block of a page."""

    language: str
    text: str

    start: int
    """Where its text begins in the page, in characters."""

    end: int


class Snippet(NamedTuple):
    """A Python block, and the output that the page shows right below it; None where it shows none."""

    program: Block
    shown: Block | None


def blocks_of(page: str) -> list[Block]:
    """Return the fenced blocks of a page."""
    return [Block(found[1], found[2], found.start(2), found.end(2)) for found in _BLOCK.finditer(page)]


def snippets_of(page: str) -> list[Snippet]:
    """Return the Python blocks of a page; a block of `text` that follows directly is what one prints."""
    blocks = blocks_of(page)
    snippets = []
    for block, following in zip(blocks, [*blocks, None][1:], strict=True):
        if block.language == "python":
            between = page[block.end : following.start] if following else ""
            prints = following is not None and following.language == "text" and between.split() == ["```", "```text"]
            snippets.append(Snippet(block, following if prints else None))
    return snippets


def run_page(path: Path, names: dict[str, Any]) -> Iterator[tuple[Snippet, str]]:
    """Run the Python blocks of a page, one after another, in one namespace; yields each with what it printed."""
    page = path.read_text()
    for snippet in snippets_of(page):
        line = page[: snippet.program.start].count("\n")
        code = compile("\n" * line + snippet.program.text, str(path), "exec")  # so that a traceback tells the line
        with redirect_stdout(StringIO()) as printed:
            exec(code, names)  # noqa: S102
        yield snippet, printed.getvalue()


def with_outputs(path: Path, names: dict[str, Any]) -> str:
    """Run a page and return its text, each shown output replaced by what was printed."""
    page = path.read_text()
    for snippet, printed in reversed(list(run_page(path, names))):
        if snippet.shown:
            page = page[: snippet.shown.start] + printed + page[snippet.shown.end :]
    return page


def words_of(output: str) -> str:
    """Return an output without its numbers."""
    return _NUMBER.sub("#", output)


def numbers_of(output: str) -> list[float]:
    """Return the numbers in an output."""
    return [float(number.replace(",", "").rstrip(".")) for number in _NUMBER.findall(output)]
