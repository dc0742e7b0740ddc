"""Images and labels as arrays of NumPy in one `.npz` file."""

from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
from numpy.typing import NDArray

from lifline.data.info import MAX_CLASSES
from lifline.download.limits import MAX_CLASS_NAME, check_class_names
from lifline.download.npy import PIXELS, Array, header_of, joined, read_header, white_of
from lifline.download.parts import OwnParts, StoredArray, StoredPart, read_parts
from lifline.download.reading import named, reading
from lifline.errors import DataError

TRAIN = ("x_train", "y_train")
TEST = ("x_test", "y_test")
CLASS_NAMES = "class_names"


def read_arrays(path: Path) -> OwnParts:
    """Read an `.npz` file: the arrays `x_train` and `y_train`, maybe `x_test` and `y_test`, maybe `class_names`.

    Images are `[B, H, W]`, `[B, H, W, C]` or `[B, C, H, W]`: whole numbers of 0 to 255, floats of 0 to 1, or bits.
    Labels are whole numbers, `[B]`. Nothing is unpickled.

    Raises:
        DataError: an array is missing or does not hold what it must.
    """
    with reading(path), ZipFile(path) as archive:
        names = {member.filename.removesuffix(".npy"): member for member in archive.infolist()}
        arrays = {name: Array(archive, member, f"{named(path)}: {name}") for name, member in names.items()}
        _check_names(list(arrays), named(path))
        class_names = _read_class_names(arrays[CLASS_NAMES]) if CLASS_NAMES in arrays else None
        test = _stored_part(arrays, *TEST) if TEST[0] in arrays else None
        return read_parts(_stored_part(arrays, *TRAIN), test, class_names)


def _check_names(names: list[str], source: str) -> None:
    has_test = any(name in names for name in TEST)
    for name in TRAIN + TEST * has_test:
        if name not in names:
            raise DataError(f"{source} lacks {name}; it has {joined(names)}")
    allowed = (*TRAIN, *TEST, CLASS_NAMES)
    if unknown := [name for name in names if name not in allowed]:
        raise DataError(f"{source} has {joined(unknown)}, allowed are {', '.join(allowed)}")


def _stored_part(arrays: dict[str, Array], images: str, labels: str) -> StoredPart:
    return StoredPart(
        _stored(arrays[images], *PIXELS, _read_pixels),
        _stored(arrays[labels], "iu", "whole numbers", _read),
    )


def _stored(array: Array, kinds: str, allowed: str, read: Callable[[Array], NDArray[Any]]) -> StoredArray:
    shape, _, dtype = header_of(array, kinds, allowed)
    return StoredArray(array.source, shape, dtype.itemsize, lambda: read(array))


def _read(array: Array) -> NDArray[Any]:
    """Read no more than a byte over what the header tells, however much is packed."""
    with array.archive.open(array.member) as file:
        shape, by_column, dtype = read_header(file, array.source)
        num_bytes = prod(shape) * dtype.itemsize
        content = file.read(num_bytes + 1)
    if len(content) != num_bytes:
        problem = "ends before its {:,} values do" if len(content) < num_bytes else "is longer than its {:,} values"
        raise DataError(f"{array.source} is damaged: it {problem.format(prod(shape))}")
    return np.frombuffer(content, dtype).reshape(shape, order="F" if by_column else "C")


def _read_pixels(array: Array) -> NDArray[np.uint8]:
    """Read images as pixels of 0 to 255."""
    stored = _read(array)
    values = stored.view(np.uint8) if stored.dtype.kind == "b" else stored
    white = white_of(stored, array.source)
    scaled = np.rint(values * 255) if stored.dtype.kind == "f" else values * (255 // white)
    return scaled.astype(np.uint8)


def _read_class_names(array: Array) -> tuple[str, ...]:
    shape, _, dtype = header_of(array, "U", "text, a name a class")
    longest = dtype.itemsize // np.dtype("U1").itemsize
    if len(shape) != 1 or shape[0] > MAX_CLASSES or not 1 <= longest <= MAX_CLASS_NAME:
        raise DataError(
            f"{array.source} has room for {prod(shape):,} names of {longest:,} characters, in the shape {shape}; "
            f"allowed is a list of up to {MAX_CLASSES:,}, of 1 to {MAX_CLASS_NAME}"
        )
    names = tuple(map(str, _read(array)))
    check_class_names(names, array.source, "name")
    return names
