"""The Python blocks of the pages run, in order, and print what the page shows."""

from pathlib import Path
from typing import Any

import pytest

from docs.tools.snippets import ROOT, numbers_of, run_page, snippets_of, with_outputs, words_of
from tests.docs.pages import PAGES

ELSEWHERE = {"docs/models.md", "docs/nir.md", "docs/tutorial.md"}
"""Pages whose programs need a champion, a NIR file or images: other tests run them."""

TWENTIETH = 0.05


def check(page: Path, names: dict[str, Any], exact: bool = True) -> None:
    """Run a page's programs under `names`, and compare what they print with what it shows: all, or all but numbers."""
    for snippet, printed in run_page(page, names):
        shown = snippet.shown.text if snippet.shown else ""
        assert words_of(printed) == words_of(shown), snippet.program.text
        if exact:
            assert numbers_of(printed) == pytest.approx(numbers_of(shown), rel=TWENTIETH), snippet.program.text


def test_the_pages_with_programs_are_known():
    found = {page.relative_to(ROOT).as_posix() for page in PAGES if snippets_of(page.read_text())}
    assert found == {"README.md", "docs/library.md"} | ELSEWHERE


@pytest.mark.parametrize("name", ["README.md", "docs/library.md"])
def test_the_programs_of_a_page_run(name):
    check(ROOT / name, {})


PAGE = """Text.

```python
a = 2
print(f"a is {a}, {a / 3:.3f}")
```

```text
a is 1, 0.1
```

```python
b = a + 1
```

More text.

```text
not an output
```

```sh
ls
```
"""


def test_an_output_is_what_stands_right_below_a_program():
    first, second = snippets_of(PAGE)
    assert first.shown.text == "a is 1, 0.1\n"
    assert second.program.text == "b = a + 1\n"
    assert second.shown is None


def test_programs_share_their_names_and_outputs_are_filled_in(tmp_path):
    (tmp_path / "page.md").write_text(PAGE)
    names = {}
    assert with_outputs(tmp_path / "page.md", names) == PAGE.replace("a is 1, 0.1", "a is 2, 0.667")
    assert names["b"] == 3


def test_a_program_that_fails_tells_its_line(tmp_path):
    (tmp_path / "page.md").write_text(PAGE.replace("a = 2", "a = 0 / 0"))
    with pytest.raises(ZeroDivisionError) as raised:
        list(run_page(tmp_path / "page.md", {}))
    assert raised.traceback[-1].lineno + 1 == 4


@pytest.mark.parametrize("printed", ["loss 61.2\n", "los 60.5\n", "loss 60.5 60.5\n", ""])
def test_an_output_that_differs_is_found(tmp_path, printed):
    page = "```python\nprint('loss 58.0')\n```\n\n```text\n" + printed + "```\n"
    (tmp_path / "page.md").write_text(page)
    with pytest.raises(AssertionError):
        check(tmp_path / "page.md", {})


def test_numbers_are_told_from_words():
    assert words_of("1,024 of 1e-3: 99.5 %") == "# of #: # %"
    assert numbers_of("1,024 of 1e-3: 99.5 %.") == [1024, 0.001, 99.5]
