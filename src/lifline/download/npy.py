"""An array of NumPy in an `.npz` file: its header, and whether what it holds are pixels. It needs no PyTorch."""

from typing import IO, Any, NamedTuple
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile, ZipInfo

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from lifline.download.reading import MAX_WORDS, one_line
from lifline.errors import DataError

PIXELS = ("biuf", "numbers or bits")
"""The kinds of types that pixels may have, and their name."""

Header = tuple[tuple[int, ...], bool, np.dtype[Any]]
"""The shape; whether columns come first, as in Fortran; the type."""


class Array(NamedTuple):
    """A member of the file; `source` names it in errors."""

    archive: ZipFile
    member: ZipInfo
    source: str


def joined(names: list[str]) -> str:
    """Return the names of arrays as errors show them."""
    return ascii(", ".join(names)[:MAX_WORDS]) if names else "nothing"


def header_of(array: Array, kinds: str, allowed: str) -> Header:
    """Read an array's header.

    Raises:
        DataError: it is packed or written as NumPy does not, or its type is of none of the `kinds`, which `allowed`
            names.
    """
    if (way := array.member.compress_type) not in (ZIP_STORED, ZIP_DEFLATED):
        raise DataError(f"{array.source} is packed in way {way}, allowed is what NumPy writes")
    with array.archive.open(array.member) as file:
        shape, by_column, dtype = read_header(file, array.source)
    if dtype.kind not in kinds:
        kind = "object, which takes unpickling" if dtype.hasobject else str(dtype)[:MAX_WORDS]
        raise DataError(f"{array.source} is of the type {kind}, allowed are {allowed}")
    return shape, by_column, dtype


def read_header(file: IO[bytes], source: str) -> Header:
    """Read the header of NumPy's first version, the one of all plain arrays: others may be of any length.

    Raises:
        DataError: there is none.
    """
    try:
        version = npy.read_magic(file)
        if version != (1, 0):
            raise DataError(f"{source} is of version {version} of NumPy's format, allowed is (1, 0)")
        shape, by_column, dtype = npy.read_array_header_1_0(file)
    except (DataError, OSError):
        raise
    except Exception as error:  # NumPy's have no common class
        raise DataError(f"{source} is damaged: {one_line(error)}") from None
    if any(length < 0 for length in shape):
        raise DataError(f"{source} is damaged: its shape is {shape}")
    return shape, by_column, dtype


def white_of(images: NDArray[Any], source: str, first: int = 0) -> int:
    """Return the value of white: 255 of whole numbers, 1 of floats and bits.

    Args:
        images: `[B, ...]`.
        source: names the array in errors.
        first: number of the first of them.

    Raises:
        DataError: a pixel is below 0, above white or NaN.
    """
    values = images.view(np.uint8) if images.dtype.kind == "b" else images
    is_whole = images.dtype.kind in "iu"
    white = 255 if is_whole else 1
    if values.min() >= 0 and values.max() <= white:  # so that NaN is wrong
        return white
    place = tuple(np.argwhere(~((values >= 0) & (values <= white)))[0])
    can_be_divided = not is_whole and values.min() >= 0
    remedy = "; divide by what is white, or make them whole numbers of 0 to 255" if can_be_divided else ""
    raise DataError(
        f"{source} holds {values[place]} in image {first + place[0]:,}, allowed for {images.dtype} is 0 to {white}"
        f"{remedy}"
    )
