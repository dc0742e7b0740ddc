"""How large a file of a network's may be, before anybody looks into it."""

from pathlib import Path

from lifline.errors import ModelError

MAX_FILE = 2**30
"""Bytes."""

MAX_VALUES = 2**27
"""Of all arrays together."""


def read_limited(path: Path) -> bytes:
    """Read a file whole, if it is no larger than any network's.

    Raises:
        ModelError: it is missing, or larger.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE + 1)
    except FileNotFoundError:
        raise ModelError(f"{path} is missing") from None
    if len(content) > MAX_FILE:
        raise ModelError(f"{path} is larger than {MAX_FILE:,} bytes")
    return content


def shortened(text: str) -> str:
    """Return a name from a file as messages show it."""
    return repr(text if len(text) <= 100 else f"{text[:60]}...{text[-30:]}")  # noqa: PLR2004


def in_a_line(error: Exception) -> str:
    """Return what a library says of a file, in one line that is not too long."""
    return " ".join(str(error).split())[:200] or type(error).__name__
