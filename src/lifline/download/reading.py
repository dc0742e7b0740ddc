"""How a user's own files are read: whatever is wrong with one becomes a line that names it."""

import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lifline.data.info import MAX_CLASSES
from lifline.download.limits import MAX_CLASS_NAME, check_class_names
from lifline.errors import DataError

CLASSES_FILE = "classes.txt"
"""One name a line, by label."""

MAX_WORDS = 200
"""Characters of what a library tells of a damaged file, which may quote it."""

_DAMAGE = (EOFError, RuntimeError, ValueError, struct.error, zipfile.BadZipFile, zlib.error)
"""What gzip, zipfile and NumPy raise on files that hold something else."""


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn what a body raises that reads the file into one line about it.

    Raises:
        DataError: it cannot be read, is no regular file, which might be waited for in vain, or is damaged.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise DataError(f"{named(path)} is no file that can be read; allowed are regular files")
        yield
    except OSError as error:
        raise DataError(f"{named(path)} cannot be read: {one_line(error.strerror or error)}") from None
    except _DAMAGE as error:
        raise DataError(f"{named(path)} is damaged: {one_line(error) or type(error).__name__}") from None


def named(path: Path) -> str:
    """Return a path as errors show it, in one line whatever characters it has."""
    return _printable(str(path))


def one_line(words: object) -> str:
    """Return a library's words as part of a line."""
    return _printable(" ".join(str(words).split())[:MAX_WORDS])


def _printable(text: str) -> str:
    return text if text.isprintable() else ascii(text)


def listed(folder: Path) -> list[Path]:
    """Return what is in a folder, in order of the names."""
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise DataError(f"{named(folder)} cannot be read: {error.strerror}") from None


def read_class_names(folder: Path) -> tuple[str, ...] | None:
    """Read a folder's `classes.txt`, if there.

    Raises:
        DataError: it is no list of names, a class a line.
    """
    path = folder / CLASSES_FILE
    if not os.path.lexists(path):
        return None
    most = MAX_CLASSES * (MAX_CLASS_NAME + 2)
    with reading(path):
        if (num_bytes := path.stat().st_size) > most:
            raise DataError(f"{named(path)} has {num_bytes:,} bytes, allowed is {most:,}: a class a line")
        try:
            names = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
        except UnicodeDecodeError as error:
            raise DataError(f"{named(path)} is not UTF-8 at byte {error.start}") from None
    check_class_names(names, named(path), "line")
    return tuple(names)
