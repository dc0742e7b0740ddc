"""The command for someone with five minutes."""

import os

import typer

from lifline.paths import working_copy

app = typer.Typer()


@app.command(epilog="Example: lifline demo")
def demo() -> None:
    """Show it all in five minutes: drawing, and comparing networks.

    It opens a page to draw on, and MLflow's UI, in which two networks are compared. What is missing of two trained
    networks is trained first: the recipe fast, and the same with 5 steps, each in a copy by `dvc exp run --temp`, so
    that params.yaml and models stay as they are. Then both servers run on free ports, and their links are printed, or
    opened where there is a desktop. Ctrl-C stops them; stopped earlier, the same command goes on.
    """
    from lifline.demo import demo as show

    os.chdir(working_copy())
    show()
