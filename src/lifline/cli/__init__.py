"""The `lifline` command: what is not a stage of the pipeline. Each module has the commands on one thing.

What it needs is imported while it runs, so that an interruption is told in a line from the beginning.
"""

import sys
from typing import TYPE_CHECKING, Annotated

from lifline.command import INTERRUPTED, run_command
from lifline.errors import LiflineError

if TYPE_CHECKING:
    import typer

NAME = "lifline"


def commands() -> "typer.Typer":
    """All commands, in the order in which `--help` lists them."""
    import typer

    from lifline.cli import demo, models, recipes, repositories, runs, tuning

    app = typer.Typer(rich_markup_mode=None, no_args_is_help=False, invoke_without_command=True)

    @app.callback()
    def lifline(
        context: typer.Context,
        version: Annotated[bool, typer.Option("--version", help="Show lifline's version and exit.")] = False,
    ) -> None:
        """What is not a stage of the pipeline; `dvc repro` runs the stages. Run it anywhere in the repository."""
        if version:
            print(_version())
            raise typer.Exit
        if context.invoked_subcommand is None:
            print(context.get_help())

    for group in (repositories, recipes, tuning, runs, models, demo):
        app.add_typer(group.app)
    return app


def main() -> None:
    """Run the command that is asked for; errors are one line, exit code 2; what `doctor` finds is exit code 1."""
    run_command(_run)


def _run() -> None:
    import typer

    try:
        exit_code = commands()(standalone_mode=False, prog_name=NAME)
    except typer.TyperException as error:
        context = getattr(error, "ctx", None)
        command = context.command_path if context else NAME
        raise LiflineError(f"{error.format_message().rstrip('.')}; `{command} --help` tells what there is") from None
    if exit_code == INTERRUPTED:
        raise KeyboardInterrupt
    if exit_code:
        sys.exit(exit_code)


def _version() -> str:
    from importlib.metadata import version

    return f"{NAME} {version(NAME)}"
