"""The `lifline` command: what is not a stage of the pipeline. Each module has the commands on one thing."""

import sys

import typer

from lifline.cli import demo, models, recipes, runs, tuning
from lifline.command import INTERRUPTED, run_command
from lifline.errors import LiflineError


def commands() -> typer.Typer:
    """All commands, in the order in which `--help` lists them."""
    app = typer.Typer(
        add_completion=False,
        rich_markup_mode=None,
        help="What is not a stage of the pipeline; `dvc repro` runs the stages. Run it anywhere in the repository.",
    )
    for group in (recipes, tuning, runs, models, demo):
        app.add_typer(group.app)
    return app


def main() -> None:
    """Run the command that is asked for; errors are one line, exit code 2; what `doctor` finds is exit code 1."""
    run_command(_run)


def _run() -> None:
    try:
        exit_code = commands()(standalone_mode=False)
    except typer.TyperException as error:
        raise LiflineError(f"{error.format_message().rstrip('.')}; `lifline --help` tells what there is") from None
    if exit_code == INTERRUPTED:
        raise KeyboardInterrupt
    if exit_code:
        sys.exit(exit_code)
