"""What holds for a user's own images, in whatever files they come."""

import stat
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import psutil  # type: ignore[import-untyped]

from lifline.data.images import LabelledImages
from lifline.data.info import CHANNELS, MAX_CLASSES, MAX_SIDE
from lifline.errors import DataError

MAX_BYTES = 8_000_000_000
"""Of a data set's pixels and labels in memory."""

COPIES = 3
"""Of a data set that are in memory at a time while it is read, shuffled and packed."""

MAX_NAME = 100
"""Characters, of a class's name."""

MAX_WORDS = 200
"""Characters of what a library tells of a damaged file, which may quote it."""

CLASS_NAMES = "classes.txt"
"""One name a line, by label."""

_DAMAGE = (EOFError, RuntimeError, ValueError, struct.error, zipfile.BadZipFile, zlib.error)
"""What gzip, zipfile and NumPy raise on files that hold something else."""


class Found(NamedTuple):
    """The files of a data set."""

    files: list[Path]

    has_test: bool
    """Whether some of them are images to be tested on."""


class Parts(NamedTuple):
    """A user's own images, as their files part them."""

    train: LabelledImages
    test: LabelledImages | None
    class_names: tuple[str, ...]


def named(path: Path) -> str:
    """Return a path as errors show it, in one line whatever characters it has."""
    return _printable(str(path))


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


def read_class_names(path: Path) -> tuple[str, ...]:
    """Read `classes.txt`.

    Raises:
        DataError: it is no list of names, a class a line.
    """
    most = MAX_CLASSES * (MAX_NAME + 2)
    with reading(path):
        if path.stat().st_size > most:
            raise DataError(f"{named(path)} has {path.stat().st_size:,} bytes, allowed is {most:,}: a class a line")
        try:
            names = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
        except UnicodeDecodeError as error:
            raise DataError(f"{named(path)} is not UTF-8 at byte {error.start}") from None
    check_class_names(names, named(path), "line")
    return tuple(names)


def check_class_names(names: Sequence[str], source: str, place: str) -> None:
    """Refuse names of classes that are too few, too many, no names, or the same; `place` is what holds one of them."""
    for number, name in enumerate(names, 1):
        if not name.strip() or not name.isprintable() or len(name) > MAX_NAME:
            raise DataError(
                f"{source}: {place} {number} is {name[:MAX_NAME]!a}, allowed are printable names of 1 to "
                f"{MAX_NAME} characters"
            )
    name, count = Counter(names).most_common(1)[0] if names else ("", 0)
    if count > 1:
        again = names.index(name, names.index(name) + 1) + 1
        raise DataError(f"{source}: {place} {again} names the class {name!r} again; allowed is once")
    check_num_classes(len(names), source)


def check_num_classes(num_classes: int, source: str) -> None:
    """Refuse fewer classes than can be told apart, and too many."""
    if not 1 < num_classes <= MAX_CLASSES:
        classes = "class" if num_classes == 1 else "classes"
        raise DataError(f"{source} has {num_classes:,} {classes}, allowed are 2 to {MAX_CLASSES:,}")


def check_image(channels: int, height: int, width: int, source: str) -> None:
    """Refuse images that are too large, empty, or neither grey nor in colour."""
    if channels not in CHANNELS:
        raise DataError(f"{source} has images of {channels} channels, allowed are {' and '.join(map(str, CHANNELS))}")
    if not (1 <= height <= MAX_SIDE and 1 <= width <= MAX_SIDE):
        raise DataError(f"{source} has images {width:,} wide and {height:,} high, allowed is 1 to {MAX_SIDE} pixels")


def check_memory(num_bytes: int, source: str) -> None:
    """Refuse a data set that is too large to be held in memory."""
    allowed = min(MAX_BYTES, psutil.virtual_memory().available // COPIES)
    if num_bytes > allowed:
        raise DataError(
            f"{source} brings the data set to {num_bytes:,} bytes in memory, allowed is {allowed:,}: "
            f"{MAX_BYTES:,}, and no more than 1/{COPIES} of the memory that is available"
        )
