"""An HDF5 file as nested dictionaries of arrays and texts; nothing outside of it is read, no memory taken in vain.

A file may name other files (external and soft links, virtual datasets, external storage), filters to load, and arrays
far larger than itself. All of it is looked at before any of it is read.
"""

import io
import json
import math
import os
import resource
import subprocess
import sys
import zlib
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from lifline.errors import ModelError
from lifline.imports.limits import MAX_VALUES, in_a_line, shortened

MAX_SECONDS = 120
CPU_SECONDS, BYTES_PER_CPU_SECOND = 5, 2**23
"""Seconds of a processor's that reading may take, and one more for as many bytes."""

MAX_MEMORY = 2**30
"""Bytes that reading may take, and for each byte of the file's as many more as follows."""

MEMORY_PER_BYTE = 16

REFUSED = 3
"""Exit code of the process that reads."""

MAX_OBJECTS, MAX_DEPTH = 2_000, 10
MAX_INFLATED = 1_032
"""How many bytes one byte of deflate's may stand for."""

GZIP = 1
FILTERS = {GZIP: "gzip", 2: "shuffle", 3: "fletcher32"}
"""By HDF5's number: those that are part of it; any other it would look for in folders."""

CHECKSUM = 4
"""Bytes of fletcher32's."""

SMALL = 2**16
"""Bytes that any file may ask for."""


def read_tree(content: bytes, name: str) -> dict[str, Any]:
    """Read all groups as dictionaries, and all datasets as arrays, texts (`str`) or lists of texts.

    HDF5's own code does it in a process of its own: bits that are flipped can have it ask for gigabytes, or never end.

    Args:
        content: of the file.
        name: how messages call it.

    Raises:
        ModelError: it is no HDF5 file, damaged, or names what is not in it.
    """
    command = [sys.executable, "-P", "-c", f"from {__name__} import answer; answer()", name]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    try:
        done = subprocess.run(
            command, input=content, env=environment, capture_output=True, timeout=MAX_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise ModelError(f"{name} is damaged: HDF5 is not done with it after {MAX_SECONDS} s") from None
    if done.returncode == REFUSED:
        raise ModelError(done.stderr.decode(errors="replace").splitlines()[-1])
    if done.returncode != 0:
        raise ModelError(f"{name} is damaged: HDF5 fails on it, with exit code {done.returncode}")
    return _unpacked(done.stdout)


def answer() -> None:
    """Read a file from stdin for `read_tree`, and write what is in it to stdout."""
    content, name = sys.stdin.buffer.read(), sys.argv[1]
    most = MAX_MEMORY + MEMORY_PER_BYTE * len(content)
    seconds = CPU_SECONDS + len(content) // BYTES_PER_CPU_SECOND
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        sys.stdout.buffer.write(_packed(_tree(content, name)))
    except ModelError as error:
        print(" ".join(str(error).split()), file=sys.stderr)
        sys.exit(REFUSED)


def _packed(tree: dict[str, Any]) -> bytes:
    """Return a tree's bytes: its arrays as NumPy's, and where they are as JSON."""
    arrays: list[NDArray[Any]] = []

    def outline(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: outline(each) for key, each in value.items()}
        if isinstance(value, np.ndarray):
            arrays.append(value)
            return len(arrays) - 1
        return value

    packed = io.BytesIO()
    np.savez(packed, np.frombuffer(json.dumps(outline(tree)).encode(), np.uint8), *arrays)
    return packed.getvalue()


def _unpacked(packed: bytes) -> dict[str, Any]:
    with np.load(io.BytesIO(packed), allow_pickle=False) as arrays:

        def filled(value: Any) -> Any:
            if isinstance(value, dict):
                return {key: filled(each) for key, each in value.items()}
            return arrays[f"arr_{value + 1}"] if isinstance(value, int) else value

        tree: dict[str, Any] = filled(json.loads(arrays["arr_0"].tobytes()))
        return tree


def _tree(content: bytes, name: str) -> dict[str, Any]:
    try:
        with h5py.File(io.BytesIO(content), "r") as file:
            _Look(name, len(content)).at(file, "")
            return _read(file, name, "")
    except ModelError:
        raise
    except Exception as error:  # h5py raises many kinds
        raise ModelError(f"{name} is no HDF5 file, or damaged: {in_a_line(error)}") from None


class _Look:
    """Walks through a file before it is read, and counts what it asks for."""

    def __init__(self, name: str, size: int) -> None:
        self.name, self.size = name, size
        self.num_objects = self.num_values = 0

    def at(self, group: h5py.Group, path: str) -> None:
        for key in group:
            where = f"{path}/{key}"
            self.num_objects += 1
            if self.num_objects > MAX_OBJECTS or where.count("/") > MAX_DEPTH:  # a group may hold itself, too
                raise ModelError(
                    f"{self.name} holds more than {MAX_OBJECTS:,} groups and datasets, or {MAX_DEPTH} deep"
                )
            if not isinstance(group.get(key, getlink=True), h5py.HardLink):
                raise ModelError(f"{self.name} is refused: {shortened(where)} is a link to elsewhere")
            found = group[key]
            if isinstance(found, h5py.Group):
                self.at(found, where)
            elif isinstance(found, h5py.Dataset):
                self._at_dataset(found, shortened(where))
            else:
                raise ModelError(f"{self.name} is refused: {shortened(where)} is neither a group nor a dataset")

    def _at_dataset(self, dataset: h5py.Dataset, where: str) -> None:
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
        self._at_size(dataset, where)
        if GZIP in filters:
            self._at_deflated(dataset, where)

    def _at_size(self, dataset: h5py.Dataset, where: str) -> None:
        self.num_values += math.prod(dataset.shape)
        itemsize = dataset.dtype.itemsize
        asked = itemsize * max(math.prod(dataset.shape), math.prod(dataset.chunks or ()))
        stored = dataset.id.get_storage_size()
        if stored > self.size:  # HDF5 would make room for it
            raise ModelError(f"{self.name} is damaged: {where} is said to have {stored:,} bytes in it")
        if self.num_values > MAX_VALUES or asked > max(SMALL, stored * MAX_INFLATED):
            raise ModelError(
                f"{self.name} is refused: {where} is {list(dataset.shape)}, more than its {stored:,} bytes in the file "
                f"can hold, or than {MAX_VALUES:,} values"
            )

    def _at_deflated(self, dataset: h5py.Dataset, where: str) -> None:
        """Inflate no more than fits: HDF5 would go on to the end, however much that is."""
        allowed = math.prod(dataset.chunks) * dataset.dtype.itemsize + CHECKSUM
        for place in range(dataset.id.get_num_chunks()):
            chunk = dataset.id.get_chunk_info(place)
            _, deflated = dataset.id.read_direct_chunk(chunk.chunk_offset)
            if not chunk.filter_mask and len(zlib.decompressobj().decompress(deflated, allowed + 1)) > allowed:
                raise ModelError(f"{self.name} is refused: {where} inflates to more than its {allowed:,} bytes")


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
