"""What several commands take."""

from typing import Annotated

import typer

WIDE = 1000
"""Columns, where no terminal limits them."""

READABLE = 120
"""Columns of a table that can be folded, there."""

Model = Annotated[
    str | None,
    typer.Option(
        metavar="FILE|URI",
        help="An ONNX file, or one of the registry, as models:/lifline@champion; by default the repository's "
        "models/model.onnx.",
    ),
]
Storage = Annotated[
    str | None,
    typer.Option(
        envvar="LIFLINE_STORAGE",
        show_envvar=True,
        help="A team's PostgreSQL, postgresql://USER@HOST/DATABASE; by default optuna.journal.",
    ),
]
