"""Where many images come from to be predicted: a folder of pictures, or an array; none is kept."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from math import prod
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import ZipFile

import numpy as np

from lifline.data.info import DatasetInfo
from lifline.download.npy import PIXELS, Array, header_of, joined, read_header, white_of
from lifline.download.reading import named, one_line, reading
from lifline.errors import DataError, LiflineError, PictureError
from lifline.serving.picture import FORMATS, read_picture
from lifline.serving.preparation import Pixels

ARRAY = "x_test"
"""The array that is taken where a file has several."""

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".heic", ".heif", ".avif")
"""Of pictures; of the last three, which are not read, it is told."""

DRAWN_SUFFIX = ".spikes.png"
"""Of what `lifline predict --show` draws."""


class Found(NamedTuple):
    """An image, or why there is none."""

    name: str
    image: Pixels | None
    error: str


class Source(NamedTuple):
    """Images, one after another, and how many there will be."""

    images: Iterator[Found]
    num_images: int


@contextmanager
def opened(path: Path, dataset: DatasetInfo) -> Iterator[Source]:
    """Open a folder of pictures, or an `.npz` file of images, for a network that sees a data set's images.

    Raises:
        LiflineError: it is neither, cannot be read, holds nothing, or images of another shape.
    """
    if path.is_dir():
        pictures = _pictures_in(path)
        yield Source((_picture(each, dataset) for each in pictures), len(pictures))
    elif path.suffix.lower() == ".npz":
        with ExitStack() as stack:
            with reading(path):
                archive = stack.enter_context(ZipFile(path))
                source = _read_array(_images_in(archive, path), path, dataset)
            yield source
    else:
        raise LiflineError(f"{named(path)} is neither a folder nor an .npz file; --output takes one of these")


def _pictures_in(folder: Path) -> list[Path]:
    """All pictures in a folder and the folders in it, by path; what is hidden is left out."""
    found = []
    for where, folders, files in os.walk(folder, onerror=_raise):
        folders[:] = [name for name in folders if not name.startswith(".")]
        paths = [Path(where, name) for name in files if _is_picture(name)]
        found += [path for path in paths if path.is_file()]
    if not found:
        raise PictureError(f"{named(folder)} holds no picture; allowed are {', '.join(FORMATS)}")
    return sorted(found)


def _raise(error: OSError) -> None:
    raise error


def _is_picture(name: str) -> bool:
    return name.lower().endswith(SUFFIXES) and not name.startswith(".") and not name.endswith(DRAWN_SUFFIX)


def _picture(path: Path, dataset: DatasetInfo) -> Found:
    try:
        return Found(named(path), read_picture(path, dataset), "")
    except PictureError as error:
        return Found(named(path), None, " ".join(str(error).split()))


def _images_in(archive: ZipFile, path: Path) -> Array:
    """The array `x_test`, or the only one."""
    members = {member.filename.removesuffix(".npy"): member for member in archive.infolist()}
    name = ARRAY if ARRAY in members else next(iter(members), "")
    if name != ARRAY and len(members) != 1:
        raise DataError(f"{named(path)} has {joined(list(members))}; allowed is {ARRAY} beside others, or one array")
    return Array(archive, members[name], f"{named(path)}: {one_line(name)}")


def _read_array(array: Array, path: Path, dataset: DatasetInfo) -> Source:
    shape, by_column, dtype = header_of(array, *PIXELS)
    channels, height, width = dataset.shape
    allowed = [(height, width)] * (channels == 1) + [(height, width, channels), (channels, height, width)]
    if shape[1:] not in allowed or shape[0] == 0:
        shapes = " or ".join(f"[B, {', '.join(map(str, each))}]" for each in allowed)
        raise DataError(f"{array.source} has the shape {list(shape)}; allowed is {shapes}, with B from 1")
    if by_column:
        raise DataError(f"{array.source} is stored column by column; allowed is what np.ascontiguousarray returns")
    return Source(_images_of(array, path, shape, dtype, dataset), shape[0])


def _images_of(
    array: Array, path: Path, shape: tuple[int, ...], dtype: np.dtype[Any], dataset: DatasetInfo
) -> Iterator[Found]:
    """Read one image after another."""
    channels, height, width = dataset.shape
    with array.archive.open(array.member) as file:
        read_header(file, array.source)
        for number in range(shape[0]):
            with reading(path):
                content = file.read(prod(shape[1:]) * dtype.itemsize)
                values = np.frombuffer(content, dtype).reshape(1, *shape[1:])  # a ValueError where there are too few
            name = f"{one_line(array.member.filename.removesuffix('.npy'))}[{number}]"
            try:
                white = white_of(values, array.source, number)
            except DataError as error:
                yield Found(name, None, str(error))
                continue
            pixels = values[0].astype(np.float32) / np.float32(white)
            has_channels_last = shape[1:] == (height, width, channels)
            yield Found(name, np.moveaxis(pixels, -1, 0) if has_channels_last else pixels.reshape(dataset.shape), "")
        with reading(path):
            if file.read(1):
                raise DataError(f"{array.source} is damaged: it is longer than its {prod(shape):,} values")
