"""The site has every page, and takes nothing from elsewhere; `make docs` builds it and checks its links."""

import re

import pytest
from ruamel.yaml import YAML

from docs.tools.site import on_page_markdown
from docs.tools.snippets import ROOT

SITE = YAML(typ="safe").load((ROOT / "mkdocs.yml").read_text())


def pages_in(nav) -> set[str]:
    if isinstance(nav, str):
        return {nav}
    entries = nav if isinstance(nav, list) else nav.values()
    return set().union(*map(pages_in, entries))


def test_every_page_is_in_the_navigation():
    assert pages_in(SITE["nav"]) == {path.name for path in (ROOT / "docs").glob("*.md")}


def test_no_script_comes_from_the_internet():
    assert SITE["theme"] == {"name": "mkdocs", "highlightjs": False}


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("[`loss.py`](../src/lifline/snn/loss.py)", "`src/lifline/snn/loss.py`"),
        ("[the file](../params.yaml), and", "the file (`params.yaml`), and"),
        ("[guide](guide.md#runs)", "[guide](guide.md#runs)"),
        ("![two runs](comparison.png)", "![two runs](comparison.png)"),
        ("[a](../b) and [c](d.md)", "a (`b`) and [c](d.md)"),
    ],
)
def test_what_lies_beside_the_pages_is_named_not_linked(written, shown):
    assert on_page_markdown(written) == shown


def test_no_page_links_beside_the_pages_in_another_way():
    for path in (ROOT / "docs").glob("*.md"):
        assert not re.findall(r"\]\(\.\./", on_page_markdown(path.read_text())), path
