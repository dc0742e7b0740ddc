"""What the pages say is there: files, anchors, commands, options, params, settings."""

import json
import re
import shlex
from functools import cache
from pathlib import Path

import pytest
import typer
from dvc.cli.parser import get_main_parser
from dvc.exceptions import DvcException

from docs.tools import params as params_page
from docs.tools.snippets import ROOT
from lifline import cli
from lifline.params import all_fields
from lifline.system.files import sha256_of
from tests.docs.pages import PAGES, Said, anchors_of, code_in_prose, commands, links

LIFLINE = typer.main.get_command(cli.commands())
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
PARAMS = {name for name, _ in all_fields()}
FILES = (".c", ".h", ".nir", ".pt", ".py", ".safetensors")
FOLDERS = ("src/", "tests/", "docs/", "pipeline/", "presets/", "benchmarks/", "reports/")
MADE = {
    "benchmarks/results/quick/", "reports/figures/", "reports/firing_rates.csv", "reports/gate.csv", "reports/loss.csv",
    "reports/predictions.csv", "reports/seeds.json",
}  # fmt: skip
"""What a command or a stage makes, and git does not keep."""

PICTURED = {
    "model": "8b0c7c6a69e52d6253a5bf5054591fdf000bc936c7c7007ee2581e1b7bfab224",
    "docs/raster.png": "58b5e91885326dbea0084bd51efab6cd9891784acae7b477bd4a0404c0a772c8",
    "README": "139 fire, 778 times in 10 steps",
}
"""The committed model, its reports/figures/raster.png, which git does not keep, and what that shows."""

ANSWER = "docs/three.png: 3, confidence 100 %, 8 output and 899 hidden spikes"
"""The committed model's."""


@cache
def sources() -> str:
    return "\n".join(path.read_text() for path in sorted((ROOT / "src").rglob("*.py")))


def beginning_with(word: str) -> list[Said]:
    """The commands of a program, without its name."""
    found = {Said(said.page, said.text[len(word) :].strip()) for said in commands() if said.text.startswith(f"{word} ")}
    assert found
    return sorted(found)


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) < 150


def test_the_page_of_params_is_of_the_schema():
    """`make docs` writes it."""
    assert params_page.PAGE.read_text() == params_page.page()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for said in links():
        if said.page != page.name:
            continue
        name, _, anchor = said.text.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), said
        assert not anchor or anchor in anchors_of(target), said


def test_every_page_is_reached_from_the_readme():
    reached, to_read = set(), [ROOT / "README.md"]
    while to_read:
        page = to_read.pop()
        reached.add(page)
        found = {(page.parent / said.text.partition("#")[0]).resolve() for said in links() if said.page == page.name}
        to_read += [target for target in found if target.suffix == ".md" and target in PAGES and target not in reached]
    assert reached == set(PAGES)


def test_every_picture_is_shown():
    shown = {Path(said.text).name for said in links()}
    assert {path.name for path in (ROOT / "docs").rglob("*.png")} - shown == {"three.png"}  # which is to be predicted


def test_the_picture_of_the_network_is_of_the_committed_model(lifline, monkeypatch):
    """After another training copy its reports/figures/raster.png to docs/, and the picture's numbers to README.md.

    Whoever trains a model of their own need not: the skip is a failure where none is allowed, as in the project's CI.
    """
    assert sha256_of(ROOT / "docs/raster.png") == PICTURED["docs/raster.png"]
    assert PICTURED["README"] in (ROOT / "README.md").read_text()
    if json.loads((ROOT / "reports/evaluation.json").read_text())["model_sha256"] != PICTURED["model"]:
        pytest.skip("the model is another than README's picture is of")
    made = ROOT / "reports/figures/raster.png"
    assert not made.exists() or sha256_of(made) == PICTURED["docs/raster.png"]
    assert ANSWER in (ROOT / "docs/models.md").read_text()
    if (ROOT / "models/model.onnx").exists():
        monkeypatch.chdir(ROOT)
        assert lifline("predict", "docs/three.png") == (0, f"{ANSWER}\n", "")


@pytest.mark.parametrize("said", beginning_with("lifline"), ids=lambda said: said.text)
def test_commands_of_lifline_are_understood(said):
    name, *arguments = shlex.split(said.text.replace("...", ""))
    if name.startswith("--"):
        assert name in {"--help", *(option for param in LIFLINE.params for option in param.opts)}, said
        return
    assert name in LIFLINE.commands, said
    command = LIFLINE.commands[name]
    if arguments:
        with command.make_context(name, arguments, resilient_parsing="--help" in arguments):
            pass


def test_options_without_their_command_are_some_commands():
    options = {option for each in LIFLINE.commands.values() for param in each.params for option in param.opts}
    said = {each for each in code_in_prose() if re.match(r"--[a-z]", each.text)}
    assert {each for each in said if each.text.split()[0].split("=")[0] not in options | {"--help"}} == set()


@pytest.mark.parametrize("said", beginning_with("dvc"), ids=lambda said: said.text)
def test_commands_of_dvc_are_understood(said, monkeypatch):
    monkeypatch.setattr("sys.argv", ["dvc"])  # by which DVC tells how much to say
    try:
        get_main_parser().parse_args(shlex.split(said.text))
    except DvcException as error:
        pytest.fail(f"{said}: {error}")


def test_targets_of_make_are_there():
    named = {word for said in beginning_with("make") for word in said.text.split() if "=" not in word}
    assert named <= TARGETS


def test_sections_of_benchmarks_are_there():
    named = [said.text for said in beginning_with("python") if re.match(r"-m benchmarks (?!record)", said.text)]
    main = (ROOT / "benchmarks/__main__.py").read_text() + (ROOT / "benchmarks/sections/networks.py").read_text()
    for word in {word for text in named for word in text.split()[2:]} - {"--help"}:
        assert f'"{word}"' in main, word


def test_params_that_are_named_are_params():
    sections = "|".join({name.split(".")[0] for name in PARAMS})
    names = {name for said in [*code_in_prose(), *commands()] for name in _params_in(said.text, sections)}
    assert len(names) > 20
    assert names - PARAMS == set()


def _params_in(text: str, sections: str) -> list[str]:
    found = re.findall(rf"(?<![\w/.(])((?:{sections})\.[a-z_]+)(?!\w)", text)
    return [name for name in found if not name.endswith(FILES)]


def test_settings_that_are_named_are_read():
    names = {name for page in PAGES for name in re.findall(r"LIFLINE_[A-Z_]+", page.read_text())}
    assert len(names) > 3
    assert {name for name in names if f'"{name}"' not in sources()} == set()


def test_paths_that_are_named_are_there():
    named = {
        said for said in code_in_prose() if said.text.startswith(FOLDERS) and re.fullmatch(r"[a-z0-9_/.\-]+", said.text)
    }
    assert {said for said in named if not (ROOT / said.text).exists() and said.text not in MADE} == set()
