"""What `pip install lifline` alone does not bring: all but `lifline.snn`."""

from importlib.util import find_spec

from lifline.errors import MissingExtraError

MARKS = {"pipeline": "mlflow", "serving": "starlette", "tuning": "optuna"}
"""A library by which an extra of the package is known to be installed."""


def require(part: str, *extras: str) -> None:
    """Let a part of lifline be imported only where one of these extras is installed.

    Raises:
        MissingExtraError: none is.
    """
    if not any(find_spec(MARKS[extra]) for extra in extras):
        raise MissingExtraError(f"{part} needs the extra {extras[0]}: pip install '.[{extras[0]}]' in a clone")
