"""An HDF5 file as nested dictionaries of arrays and texts; nothing outside of it is read, no memory taken in vain.

A file may name other files (external and soft links, virtual datasets, external storage), filters to load, and arrays
far larger than itself. All of it is looked at before any of it is read.
"""

import io
import math
from typing import Any

import h5py
import numpy as np

from lifline.errors import ModelError
from lifline.imports.limits import MAX_VALUES, in_a_line, shortened

MAX_OBJECTS = 2_000
MAX_INFLATED = 1_032
"""How many bytes one byte of deflate's may stand for."""

FILTERS = {1: "gzip", 2: "shuffle", 3: "fletcher32", 32_000: "lzf"}
"""By HDF5's number: those that are part of it; any other it would look for in folders."""

SMALL = 2**16
"""Bytes that any file may ask for."""


def read_tree(content: bytes, name: str) -> dict[str, Any]:
    """Read all groups as dictionaries, and all datasets as arrays, texts (`str`) or lists of texts.

    Args:
        content: of the file.
        name: how messages call it.

    Raises:
        ModelError: it is no HDF5 file, damaged, or names what is not in it.
    """
    try:
        with h5py.File(io.BytesIO(content), "r") as file:
            _Looking(name, len(content)).look_at(file, "")
            return _read(file, name, "")
    except ModelError:
        raise
    except Exception as error:  # h5py raises many kinds
        raise ModelError(f"{name} is no HDF5 file, or damaged: {in_a_line(error)}") from None


class _Looking:
    """Walks through a file before it is read, and counts what it asks for."""

    def __init__(self, name: str, size: int) -> None:
        self.name, self.size = name, size
        self.num_objects = self.num_values = 0

    def look_at(self, group: h5py.Group, path: str) -> None:
        for key in group:
            where = f"{path}/{key}"
            self.num_objects += 1
            if self.num_objects > MAX_OBJECTS:  # a group may hold itself, too
                raise ModelError(f"{self.name} holds more than {MAX_OBJECTS:,} groups and datasets")
            if not isinstance(group.get(key, getlink=True), h5py.HardLink):
                raise ModelError(f"{self.name} is refused: {shortened(where)} is a link to elsewhere")
            found = group[key]
            if isinstance(found, h5py.Group):
                self.look_at(found, where)
            elif isinstance(found, h5py.Dataset):
                self._look_at_dataset(found, shortened(where))
            else:
                raise ModelError(f"{self.name} is refused: {shortened(where)} is neither a group nor a dataset")

    def _look_at_dataset(self, dataset: h5py.Dataset, where: str) -> None:
        created = dataset.id.get_create_plist()
        if dataset.is_virtual or created.get_external_count():
            raise ModelError(f"{self.name} is refused: {where} lies in other files")
        filters = [created.get_filter(place)[0] for place in range(created.get_nfilters())]
        if not set(filters) <= set(FILTERS) or len(filters) != len(set(filters)):
            raise ModelError(f"{self.name} is refused: {where} has filters {filters}; allowed are {FILTERS}, once each")
        if dataset.dtype.kind not in "biufO" or (
            dataset.dtype.kind == "O" and h5py.check_string_dtype(dataset.dtype) is None
        ):
            raise ModelError(f"{self.name} is refused: {where} is of {dataset.dtype}; allowed are numbers and texts")
        if dataset.shape is None:
            raise ModelError(f"{self.name} is refused: {where} is empty")
        self._look_at_size(dataset, where)

    def _look_at_size(self, dataset: h5py.Dataset, where: str) -> None:
        self.num_values += math.prod(dataset.shape)
        itemsize = dataset.dtype.itemsize
        asked = itemsize * max(math.prod(dataset.shape), math.prod(dataset.chunks or ()))
        held = min(dataset.id.get_storage_size(), self.size)
        if self.num_values > MAX_VALUES or asked > max(SMALL, held * MAX_INFLATED):
            raise ModelError(
                f"{self.name} is refused: {where} is {list(dataset.shape)}, more than its {held:,} bytes in the file "
                f"can hold, or than {MAX_VALUES:,} values"
            )


def _read(group: h5py.Group, name: str, path: str) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for key, found in group.items():
        if isinstance(found, h5py.Group):
            tree[key] = _read(found, name, f"{path}/{key}")
        elif found.dtype.kind == "O":
            tree[key] = found.asstr()[()]
            if isinstance(tree[key], np.ndarray):
                tree[key] = tree[key].tolist()
        else:
            tree[key] = np.asarray(found[()])
            if tree[key].dtype.kind == "f" and not np.isfinite(tree[key]).all():
                raise ModelError(f"{name} is refused: {shortened(f'{path}/{key}')} holds what is not a finite number")
    return tree
