"""What holds of every command: version, help, completion, errors, interruptions."""

import os
import re
import shlex
import signal
import subprocess
import sys

import pytest
import typer.main

from lifline.cli import commands
from tests.conftest import assert_one_line_error

COMMANDS = typer.main.get_command(commands()).commands
PROGRAM = "from lifline.cli import main; main()"


def test_the_version_is_told(lifline):
    code, out, err = lifline("--version")
    assert (code, err) == (0, "")
    assert re.fullmatch(r"lifline \d\S*\n", out)


def test_without_a_command_the_help_is_printed(lifline):
    code, out, err = lifline()
    assert (code, err) == (0, "")
    assert out == lifline("--help")[1]
    assert all(name in out for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_an_example_that_can_be_parsed(name, lifline):
    code, out, _ = lifline(name, "--help")
    example = out.splitlines()[-1].strip()
    assert code == 0
    assert example.startswith(f"Example: lifline {name}")
    assert COMMANDS[name].make_context(name, shlex.split(example)[3:])


def test_no_short_description_is_cut_at_80_columns(lifline, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    out = lifline("--help")[1]
    listed = out.partition("Commands:\n")[2].splitlines()
    assert len(listed) == len(COMMANDS)
    assert [line for line in listed if "..." in line] == []
    assert "is not a stage" not in out


def test_a_proposal_ends_with_its_question_mark(lifline):
    err = lifline("presets")[2]
    assert err == "error: No such command 'presets'. Did you mean 'preset'? `lifline --help` tells what there is\n"


def test_an_option_tells_its_choices_in_plain_words(lifline):
    err = lifline("tune", "--cost", "spikes")[2]
    assert "'--cost': 'spikes' is not one of 'synaptic_operations', " in err


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        (["champion", "--version"], "lifline champion"),
        (["tune", "--trials"], "lifline tune"),
        (["seeds", "--count", "3"], "lifline seeds"),
        (["seeds", "many"], "lifline seeds"),
        (["compare"], "lifline compare"),
        (["--sedes"], "lifline"),
        (["sedes"], "lifline"),
    ],
)
def test_an_error_names_the_help_of_its_own_command(lifline, arguments, command):
    code, _, err = lifline(*arguments)
    assert_one_line_error((code, err), f"`{command} --help`")


@pytest.mark.parametrize(("typed", "completed"), [("se", {"seeds", "serve"}), ("tune --work", {"--workers"})])
def test_a_shell_completes_commands_and_options(typed, completed):
    words = f"lifline {typed}"
    asked = {"_LIFLINE_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    done = run({**os.environ, **asked})
    assert (done.returncode, done.stderr) == (0, "")
    assert set(done.stdout.split()) == completed


def test_completion_imports_no_library_that_computes():
    """So that it answers while one types."""
    program = "from lifline.cli import commands; commands(); import sys; print(*sys.modules)"
    loaded = set(run(os.environ, program).stdout.split())
    assert "typer" in loaded
    assert not loaded & {"torch", "numpy", "mlflow", "optuna", "rich.console", "pydantic"}


INTERRUPTED_WHEN_IMPORTING = """
import os, signal, sys
from importlib.abc import MetaPathFinder
class Interrupting(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name == sys.argv[1]:
            del sys.argv[1]
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupting())
from lifline.cli import main
main()
"""


@pytest.mark.parametrize("module", ["typer", "lifline.cli.runs", "pydantic"])
def test_an_interruption_while_libraries_are_loaded_is_one_line(module):
    done = run(os.environ, INTERRUPTED_WHEN_IMPORTING, module, "preset", "fast")
    assert (done.returncode, done.stdout, done.stderr) == (128 + signal.SIGINT, "", "error: interrupted\n")


def run(environment, program=PROGRAM, *arguments):
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
