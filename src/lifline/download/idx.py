"""Images and labels as IDX files, the format of MNIST's, plain or packed by gzip."""

import gzip
import os
from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import IO, cast

import numpy as np
import torch
from numpy.typing import NDArray

from lifline.download.limits import CLASS_NAMES, Found, Parts, named, read_class_names, reading
from lifline.download.stored import StoredArray, StoredPart, read_parts
from lifline.errors import DataError

UNSIGNED_BYTES = b"\0\0\x08"
"""How such a file begins; the number of axes and the length of each follow."""

MAX_AXES = 4
LENGTH_BYTES = 4

IMAGES = ("images-idx3-ubyte", "images-idx4-ubyte")
LABELS = ("labels-idx1-ubyte",)
TRAIN, TEST = "train", "t10k"
PACKINGS = ("", ".gz")


def decode_idx(content: bytes, source: str) -> torch.Tensor:
    """Decode an IDX file of unsigned bytes and 1 to 4 axes; `source` names it in errors.

    Raises:
        DataError: the bytes are no such file.
    """
    shape = _shape_of(content, source)
    start = _header_bytes(shape)
    if len(content) != start + prod(shape):
        raise DataError(
            f"{source} is damaged: it has {len(content):,} bytes{' or more' * (len(content) > start + prod(shape))}, "
            f"allowed is {start + prod(shape):,}, for {' x '.join(map(str, shape))} and the header"
        )
    return torch.from_numpy(np.frombuffer(content, dtype=np.uint8, offset=start).reshape(shape).copy())


def has_idx_files(folder: Path) -> bool:
    """Whether any file of a data set of this kind is there."""
    return any(_find(folder, part, endings) for part in (TRAIN, TEST) for endings in (IMAGES, LABELS))


def find_idx_files(folder: Path) -> Found:
    """Find the files that are read: of a plain one and a packed one, the plain one.

    Raises:
        DataError: one is missing.
    """
    has_test = any(_find(folder, TEST, endings) for endings in (IMAGES, LABELS))
    files = [_get(folder, part, endings) for part in (TRAIN, TEST)[: 1 + has_test] for endings in (IMAGES, LABELS)]
    return Found(files + [folder / CLASS_NAMES] * os.path.lexists(folder / CLASS_NAMES), has_test)


def read_idx_folder(folder: Path) -> Parts:
    """Read a folder of IDX files.

    These are `train-images-idx3-ubyte` (or `idx4`, in colour), `train-labels-idx1-ubyte` and, to be tested on, the same
    of `t10k`, each maybe with `.gz`. The names of the classes are in `classes.txt`, if there.

    Raises:
        DataError: a file is missing or does not hold what it must.
    """
    files, has_test = find_idx_files(folder)
    class_names = read_class_names(folder / CLASS_NAMES) if folder / CLASS_NAMES in files else None
    images, labels = _stored(files[0]), _stored(files[1])
    test = StoredPart(_stored(files[2]), _stored(files[3])) if has_test else None
    return read_parts(StoredPart(images, labels), test, class_names)


def _find(folder: Path, part: str, endings: tuple[str, ...]) -> Path | None:
    paths = (folder / f"{part}-{ending}{packing}" for ending in endings for packing in PACKINGS)
    return next((path for path in paths if os.path.lexists(path)), None)


def _get(folder: Path, part: str, endings: tuple[str, ...]) -> Path:
    path = _find(folder, part, endings)
    if path is None:
        raise DataError(f"{named(folder / f'{part}-{endings[0]}')} is missing, beside the other files of IDX")
    return path


def _stored(path: Path) -> StoredArray:
    shape = _read(path, lambda _: 0)[0]
    return StoredArray(named(path), shape, lambda: _decoded(path))


def _decoded(path: Path) -> NDArray[np.uint8]:
    """Read no more than a byte over what the header tells, however much is packed."""
    _, content = _read(path, lambda shape: prod(shape) + 1)
    return decode_idx(content, named(path)).numpy()


def _read(path: Path, num_bytes: Callable[[tuple[int, ...]], int]) -> tuple[tuple[int, ...], bytes]:
    """Read a file's shape, and its header with as many bytes after it as the shape asks for."""
    with reading(path), _open(path) as file:
        start = file.read(len(UNSIGNED_BYTES) + 1)
        start += file.read(LENGTH_BYTES * min(start[-1], MAX_AXES)) if start else b""
        shape = _shape_of(start, named(path))
        return shape, start + file.read(num_bytes(shape))


def _open(path: Path) -> IO[bytes]:
    return cast(IO[bytes], gzip.open(path)) if path.suffix == ".gz" else path.open("rb")


def _shape_of(content: bytes, source: str) -> tuple[int, ...]:
    start = content[: len(UNSIGNED_BYTES) + 1]
    if start[:-1] != UNSIGNED_BYTES or not 1 <= start[-1] <= MAX_AXES:
        raise DataError(
            f"{source} is no IDX file of unsigned bytes: it starts with {start.hex() or 'nothing'}, allowed is "
            f"{UNSIGNED_BYTES.hex()}01 to {UNSIGNED_BYTES.hex()}{MAX_AXES:02}"
        )
    lengths = content[len(start) : len(start) + LENGTH_BYTES * start[-1]]
    if len(lengths) < LENGTH_BYTES * start[-1]:
        raise DataError(f"{source} is damaged: it ends within its header, of {start[-1]} axes")
    return tuple(map(int, np.frombuffer(lengths, dtype=">u4")))


def _header_bytes(shape: tuple[int, ...]) -> int:
    return len(UNSIGNED_BYTES) + 1 + LENGTH_BYTES * len(shape)
