"""Images and labels as arrays of NumPy in one `.npz` file."""

from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import IO, Any, NamedTuple
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile, ZipInfo

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from lifline.data.info import MAX_CLASSES
from lifline.download.limits import MAX_NAME, Found, Parts, check_class_names, named, one_line, reading
from lifline.download.stored import StoredArray, StoredPart, read_parts
from lifline.errors import DataError

TRAIN = ("x_train", "y_train")
TEST = ("x_test", "y_test")
CLASS_NAMES = "class_names"
SUFFIX = ".npy"

BLOCK_BYTES = 1 << 22
UTF32_BYTES = 4


class _Header(NamedTuple):
    shape: tuple[int, ...]
    by_column: bool
    dtype: np.dtype[Any]


def find_arrays(path: Path) -> Found:
    """Find out which arrays a file has.

    Raises:
        DataError: it is no such file, one of them is missing, or it has more.
    """
    with reading(path), ZipFile(path) as archive:
        names = list(_members(archive))
    has_test = any(name in names for name in TEST)
    for name in TRAIN + TEST * has_test:
        if name not in names:
            raise DataError(f"{named(path)} lacks {name}; it has {_joined(names)}")
    unknown = [name for name in names if name not in (*TRAIN, *TEST, CLASS_NAMES)]
    if unknown:
        raise DataError(f"{named(path)} has {_joined(unknown)}, allowed are {', '.join((*TRAIN, *TEST, CLASS_NAMES))}")
    return Found([path], has_test)


def read_arrays(path: Path) -> Parts:
    """Read an `.npz` file: the arrays `x_train` and `y_train`, maybe `x_test` and `y_test`, maybe `class_names`.

    Images are `[B, H, W]`, `[B, H, W, C]` or `[B, C, H, W]`: whole numbers of 0 to 255, floats of 0 to 1, or bits.
    Labels are whole numbers, `[B]`. Nothing is unpickled.

    Raises:
        DataError: an array is missing or does not hold what it must.
    """
    has_test = find_arrays(path).has_test
    with reading(path), ZipFile(path) as archive:
        source = named(path)
        class_names = _read_class_names(archive, source) if CLASS_NAMES in _members(archive) else None
        train = _stored_part(archive, TRAIN, source)
        return read_parts(train, _stored_part(archive, TEST, source) if has_test else None, class_names)


def _members(archive: ZipFile) -> dict[str, ZipInfo]:
    return {member.filename.removesuffix(SUFFIX): member for member in archive.infolist()}


def _joined(names: list[str]) -> str:
    return ascii(", ".join(names)[: 10 * MAX_NAME]) if names else "nothing"


def _stored_part(archive: ZipFile, names: tuple[str, str], source: str) -> StoredPart:
    of_images, of_labels = names
    return StoredPart(
        _stored(archive, of_images, "biuf", "numbers or bits", source),
        _stored(archive, of_labels, "iu", "whole numbers", source),
    )


def _stored(archive: ZipFile, name: str, kinds: str, allowed: str, source: str) -> StoredArray:
    with _open(archive, name, source) as file:
        header = _read_header(file, f"{source}: {name}")
    if header.dtype.kind not in kinds:
        raise DataError(f"{source}: {name} is of the type {_type_name(header.dtype)}, allowed are {allowed}")
    is_image = "f" in kinds
    return StoredArray(f"{source}: {name}", header.shape, lambda: _read_array(archive, name, source, is_image))


def _type_name(dtype: np.dtype[Any]) -> str:
    return "object, which takes unpickling" if dtype.hasobject else str(dtype)[:MAX_NAME]


def _open(archive: ZipFile, name: str, source: str) -> IO[bytes]:
    member = _members(archive)[name]
    if member.compress_type not in (ZIP_STORED, ZIP_DEFLATED):
        raise DataError(f"{source}: {name} is packed in way {member.compress_type}, allowed is what NumPy writes")
    return archive.open(member)


def _read_header(file: IO[bytes], source: str) -> _Header:
    """Read the header of NumPy's first version, the one of all plain arrays: others may be of any length."""
    try:
        version = npy.read_magic(file)
        if version != (1, 0):
            raise DataError(f"{source} is of version {version} of NumPy's format, allowed is (1, 0)")
        header = _Header(*npy.read_array_header_1_0(file))
    except (DataError, OSError):
        raise
    except Exception as error:  # NumPy's have no common class
        raise DataError(f"{source} is damaged: {one_line(error)}") from None
    if any(length < 0 for length in header.shape):
        raise DataError(f"{source} is damaged: its shape is {header.shape}")
    return header


def _read_array(archive: ZipFile, name: str, source: str, is_image: bool) -> NDArray[Any]:
    """Read an array; images become uint8, block by block, since floats take up to eight times as much."""
    source = f"{source}: {name}"
    with _open(archive, name, source) as file:
        header = _read_header(file, source)
        array = np.empty(prod(header.shape), dtype=np.uint8 if is_image else header.dtype)
        start = 0
        for values in _blocks(file, header, source):
            array[start : start + len(values)] = _as_pixels(values, start, header, source) if is_image else values
            start += len(values)
    return array.reshape(header.shape, order="F" if header.by_column else "C")


def _blocks(file: IO[bytes], header: _Header, source: str) -> Iterator[NDArray[Any]]:
    """Yield the values after a header, as many as it tells, of however much is packed; bits as bytes."""
    size, dtype = prod(header.shape), header.dtype
    num_values = BLOCK_BYTES // dtype.itemsize
    for start in range(0, size, num_values):
        num_bytes = min(num_values, size - start) * dtype.itemsize
        content = file.read(num_bytes)
        if len(content) < num_bytes:
            raise DataError(f"{source} is damaged: it ends before its {size:,} values do")
        yield np.frombuffer(content, dtype=np.uint8 if dtype.kind == "b" else dtype)
    if file.read(1):
        raise DataError(f"{source} is damaged: it is longer than its {size:,} values")


def _as_pixels(values: NDArray[Any], start: int, header: _Header, source: str) -> NDArray[np.uint8]:
    """Turn some of the values of images, from the one at `start` on, into pixels of 0 to 255."""
    whole = header.dtype.kind in "iu"
    top = 255 if whole else 1
    wrong = np.flatnonzero(~((values >= 0) & (values <= top)))  # so that NaN is wrong
    if len(wrong):
        place = start + int(wrong[0])
        image = place % header.shape[0] if header.by_column else place // prod(header.shape[1:])
        remedy = "" if whole else "; divide by what is white, or make them whole numbers of 0 to 255"
        raise DataError(
            f"{source} holds {values[wrong[0]]} in image {image:,}, allowed for {header.dtype} is 0 to {top}{remedy}"
        )
    return values.astype(np.uint8) if whole else np.rint(values.astype(np.float32) * 255).astype(np.uint8)


def _read_class_names(archive: ZipFile, source: str) -> tuple[str, ...]:
    with _open(archive, CLASS_NAMES, source) as file:
        header = _read_header(file, f"{source}: {CLASS_NAMES}")
    if header.dtype.kind != "U" or len(header.shape) != 1:
        raise DataError(
            f"{source}: {CLASS_NAMES} is of the type {_type_name(header.dtype)} and the shape {header.shape}, allowed "
            f"is text, a name a class"
        )
    longest = header.dtype.itemsize // UTF32_BYTES
    if header.shape[0] > MAX_CLASSES or not 1 <= longest <= MAX_NAME:
        raise DataError(
            f"{source}: {CLASS_NAMES} has room for {header.shape[0]:,} names of {longest:,} characters, allowed are "
            f"{MAX_CLASSES:,} of 1 to {MAX_NAME}"
        )
    names = [str(name) for name in _read_array(archive, CLASS_NAMES, source, is_image=False)]
    check_class_names(names, f"{source}: {CLASS_NAMES}", "name")
    return tuple(names)
