"""Images and labels as IDX files, the format of MNIST's, plain or packed by gzip."""

import gzip
import os
from math import prod
from pathlib import Path
from typing import IO, cast

import numpy as np
import torch

from lifline.download.parts import OwnParts, StoredArray, StoredPart, read_parts
from lifline.download.reading import named, read_class_names, reading
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
    start = _header_bytes(len(shape))
    allowed = start + prod(shape)
    if len(content) != allowed:
        raise DataError(
            f"{source} is damaged: it has {len(content):,} bytes{' or more' * (len(content) > allowed)}, allowed is "
            f"{allowed:,}, for {' x '.join(map(str, shape))} and the header"
        )
    return torch.from_numpy(np.frombuffer(content, dtype=np.uint8, offset=start).reshape(shape).copy())


def has_idx_files(folder: Path, parts: tuple[str, ...] = (TRAIN, TEST)) -> bool:
    """Whether any file of a data set of this kind is there."""
    return any(_find(folder, part, endings) for part in parts for endings in (IMAGES, LABELS))


def read_idx_folder(folder: Path) -> OwnParts:
    """Read a folder of IDX files: of a plain one and a packed one, the plain one.

    These are `train-images-idx3-ubyte` (or `idx4`, in colour), `train-labels-idx1-ubyte` and, to be tested on, the same
    of `t10k`, each maybe with `.gz`. The names of the classes are in `classes.txt`, if there.

    Raises:
        DataError: a file is missing or does not hold what it must.
    """
    train = _stored_part(folder, TRAIN)
    test = _stored_part(folder, TEST) if has_idx_files(folder, (TEST,)) else None
    return read_parts(train, test, read_class_names(folder))


def _stored_part(folder: Path, part: str) -> StoredPart:
    return StoredPart(_stored(folder, part, IMAGES), _stored(folder, part, LABELS))


def _stored(folder: Path, part: str, endings: tuple[str, ...]) -> StoredArray:
    path = _find(folder, part, endings)
    if path is None:
        raise DataError(f"{named(folder / f'{part}-{endings[0]}')} is missing, beside the other files of IDX")
    shape = _shape_of(_read(path, _header_bytes(MAX_AXES)), named(path))
    num_bytes = _header_bytes(len(shape)) + prod(shape) + 1  # one over, however much is packed
    return StoredArray(named(path), shape, 1, lambda: decode_idx(_read(path, num_bytes), named(path)).numpy())


def _find(folder: Path, part: str, endings: tuple[str, ...]) -> Path | None:
    paths = (folder / f"{part}-{ending}{packing}" for ending in endings for packing in PACKINGS)
    return next((path for path in paths if os.path.lexists(path)), None)


def _read(path: Path, num_bytes: int) -> bytes:
    with reading(path), cast(IO[bytes], gzip.open(path)) if path.suffix == ".gz" else path.open("rb") as file:
        return file.read(num_bytes)


def _shape_of(content: bytes, source: str) -> tuple[int, ...]:
    start = content[: len(UNSIGNED_BYTES) + 1]
    if start[:-1] != UNSIGNED_BYTES or not 1 <= start[-1] <= MAX_AXES:
        raise DataError(
            f"{source} is no IDX file of unsigned bytes: it starts with {start.hex() or 'nothing'}, allowed is "
            f"{UNSIGNED_BYTES.hex()}01 to {UNSIGNED_BYTES.hex()}{MAX_AXES:02}"
        )
    lengths = content[len(start) : _header_bytes(start[-1])]
    if len(lengths) < LENGTH_BYTES * start[-1]:
        raise DataError(f"{source} is damaged: it ends within its header, of {start[-1]} axes")
    return tuple(map(int, np.frombuffer(lengths, dtype=">u4")))


def _header_bytes(num_axes: int) -> int:
    return len(UNSIGNED_BYTES) + 1 + LENGTH_BYTES * num_axes
