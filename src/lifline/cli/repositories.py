"""Commands on a repository as a whole."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer()


@app.command(epilog="Example: lifline init ../pollen")
def init(folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A new one, or one that is empty.")]) -> None:
    """Start a repository of your own, for your own images.

    It has the pipeline, params.yaml, the recipes, and requirements.txt, which pins lifline. Stages run anew when that
    or a script of the pipeline changes. README.md there says how to go on.
    """
    from lifline.starter.repository import start_repository

    print(start_repository(folder))
