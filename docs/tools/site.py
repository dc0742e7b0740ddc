"""What the site does differently from the pages in the repository, as MkDocs calls it."""

import re
from typing import Any

_LINK = re.compile(r"(?<!!)\[([^\]]+)\]\((\.\./[^)]+)\)")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Turn links to files beside docs/, which the site does not have, into the files' names."""
    return _LINK.sub(_named, markdown)


def _named(link: re.Match[str]) -> str:
    words, path = link[1], link[2].removeprefix("../")
    return f"`{path}`" if words.strip("`").split("/")[-1] == path.rstrip("/").split("/")[-1] else f"{words} (`{path}`)"
