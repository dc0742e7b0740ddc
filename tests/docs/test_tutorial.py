"""The tutorial runs: its programs in one session, and its commands in one repository."""

import re
import shlex
from contextlib import chdir
from itertools import zip_longest

import pytest

from docs.tools import tutorial
from docs.tools.snippets import blocks_of, words_of
from lifline.data.datasets import save_dataset
from lifline.paths import DATA
from lifline.presets import change_params
from tests.conftest import MNIST, first
from tests.docs.test_snippets import check
from tests.pipeline.test_pipeline import SMALL, copy_of_this_repository

VALIDATION = "held_out = 5_000"
PIPELINE = tutorial.PAGE.read_text().partition("# Part three")[2]

SURE = {
    "compare": r"^(?:params|metrics)$|^(?:train\.loss|test/accuracy|test images,) .*",
    "tune": r"^trial # complete.*",
    "versions": r"^version alias.*|^Versions .*",
    "champion": r"version #",
}
"""What a command prints of any network, as far as the page shows it; of other commands whole lines."""


@pytest.mark.slow
def test_its_programs_run_on_few_images_and_its_figures_are_drawn_of_them(tmp_path, mnist, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_dataset(MNIST, first(mnist.train, 300), first(mnist.test, 20), DATA)
    text = tutorial.PAGE.read_text()
    assert VALIDATION in text
    page, names = tmp_path / "few.md", {}
    page.write_text(text.replace(VALIDATION, "held_out = 100"))
    check(page, names, exact=False)
    drawn = {f"tutorial/{name}" for name in tutorial.draw(names)}
    assert drawn == set(re.findall(r"\]\((tutorial/\w+\.png)\)", text))


@pytest.mark.slow
def test_its_programs_give_what_it_shows(tmp_path, mnist_file, monkeypatch):
    monkeypatch.chdir(tmp_path)
    DATA.parent.mkdir()
    DATA.symlink_to(mnist_file)
    check(tutorial.PAGE, {})


@pytest.mark.slow
def test_its_commands_run_in_order_with_a_smaller_network(tmp_path, idx_folder):
    (tmp_path / "data").mkdir()
    (tmp_path / "data/small").symlink_to(idx_folder)
    clone = copy_of_this_repository(tmp_path, SMALL)
    blocks = blocks_of(PIPELINE)
    for block, following in zip_longest(blocks, blocks[1:]):
        if block.language == "sh":
            lines = [shlex.split(line, comments=True) for line in block.text.splitlines()]
            printed = "".join(run_line(clone, words) for words in lines)
            if following and following.language == "text":
                assert_says_what_is_shown(lines[0], printed, following.text)
    assert "champion" in clone.run("lifline", "versions")


def assert_says_what_is_shown(command, printed, shown):
    """Compare words, without numbers, signs and the width of columns."""
    sure = SURE.get(command[1], ".+") if command[0] == "lifline" else ".+"
    said, wanted = (_sure_parts(text, sure) for text in (printed, shown))
    assert wanted
    assert wanted - said == set()


def _sure_parts(text, sure):
    lines = (" ".join(words_of(line).split()) for line in re.sub(r"[+-](?=\d)", "", text).splitlines())
    return {found[0] for line in lines if (found := re.search(sure, line))}


def run_line(clone, words):
    """Run a command, as far as it goes with few images: evidence is forced, runs are named by ids, none is served.

    Returns what it printed.
    """
    if words[0] == "cd" or words[:2] in (["git", "clone"], ["lifline", "serve"]):
        return ""
    if words[:2] == ["lifline", "champion"]:
        words = [*words, "--force"]
    if words[:2] == ["lifline", "compare"]:
        words = [*words[:2], *(run.info.run_id for run in clone.runs())]
    printed = clone.git(*words[1:]) if words[0] == "git" else clone.run(*words)
    if words[:2] == ["lifline", "preset"]:
        with chdir(clone.folder):
            change_params(SMALL)
    return printed
