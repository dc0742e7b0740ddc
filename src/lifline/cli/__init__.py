"""The `lifline` command. Each module has the commands on one thing; stages of the pipeline are not among them.

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
        """Choose recipes, search params, compare runs, and use the networks that `dvc repro` trains.

        Run it anywhere in the repository.
        """
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
        context, message = getattr(error, "ctx", None), error.format_message().rstrip(".").replace("Value error, ", "")
        command = context.command_path if context else " ".join([NAME, *_command_asked_for()])
        end = " " if message.endswith("?") else "; "
        raise LiflineError(f"{message}{end}`{command} --help` tells what there is") from None
    if exit_code == INTERRUPTED:
        raise KeyboardInterrupt
    if exit_code:
        sys.exit(exit_code)


def _command_asked_for() -> list[str]:
    """Its name; an option that lacks its value is an error that does not tell of which command it is."""
    return [word for word in sys.argv[1:2] if not word.startswith("-")]


def _version() -> str:
    from importlib.metadata import version

    return f"{NAME} {version(NAME)}"
