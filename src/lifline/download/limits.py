"""What holds for a user's own images, in whatever files they come."""

from collections import Counter
from collections.abc import Sequence

import psutil  # type: ignore[import-untyped]

from lifline.data.info import CHANNELS, MAX_CLASSES, MAX_SIDE
from lifline.errors import DataError

MAX_BYTES = 8_000_000_000
"""Of a data set's images and labels in memory, in the types that they are stored in."""

COPIES = 3
"""Of a data set that are in memory at a time while it is read, shuffled and packed."""

MAX_CLASS_NAME = 100
"""Characters."""


def check_class_names(names: Sequence[str], source: str, place: str) -> None:
    """Refuse names of classes that are too few, too many, no names, or the same; `place` is what holds one of them."""
    for number, name in enumerate(names, 1):
        if not name.strip() or not name.isprintable() or len(name) > MAX_CLASS_NAME:
            raise DataError(
                f"{source}: {place} {number} is {name[:MAX_CLASS_NAME]!a}, allowed are printable names of 1 to "
                f"{MAX_CLASS_NAME} characters"
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
