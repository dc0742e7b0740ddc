"""Compiled kernels on disk, in a folder of the user's own that is named by what they are compiled from.

Numba names its cache by the path of a source file, so that each clone, each copy of `dvc exp run --temp` and each
worker of a cluster would compile anew. Named by content, one folder serves all that have the same.
"""

import hashlib
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import llvmlite
import numba
import numpy as np
from numba.core.caching import IndexDataCacheFile, NullCache
from numba.core.compiler import CompileResult

PACKAGE = Path(__file__).parents[1]
SOURCES = (
    "kernels/cpu.py",
    "kernels/conv_kernels.py",
    "kernels/cpu_steps.py",
    "kernels/threads.py",
    "kernels/vectors.py",
    "surrogate.py",
)
"""Within the package `snn`, the files that decide what is compiled."""

VERSIONS = (sys.version, numba.__version__, llvmlite.__version__, np.__version__)
KEPT_FOLDERS = 8
"""Folders of other contents that stay, those used last: a few branches, a few environments."""

DIGEST_BYTES = 32


class KernelCache(NullCache):
    """Keeps a function's compiled code from one process to the next: a file for each signature and processor.

    A file is written whole or not at all, and depends on no other, so that processes may write side by side. One that
    is damaged counts as none.

    Args:
        name: the function's, with which its files begin.
        folder: where they are.
    """

    def __init__(self, name: str, folder: Path) -> None:
        self._name = name
        self._files = _CheckedFiles(str(folder), name, source_stamp=None)

    def load_overload(self, sig: Any, target_context: Any) -> CompileResult | None:
        """Return what was compiled for a signature, None where there is none."""
        target_context.refresh()
        content = self._files.load(self._file_name(sig, target_context.codegen()))
        return None if content is None else CompileResult._rebuild(target_context, *content)

    def save_overload(self, sig: Any, data: CompileResult) -> None:
        """Keep what was compiled for a signature, unless there is no room for it."""
        with suppress(OSError):
            self._files.save(self._file_name(sig, data.codegen), data._reduce())

    def _file_name(self, signature: Any, codegen: Any) -> str:
        key = repr((signature, codegen.magic_tuple()))  # the latter: processor and its features
        return f"{self._name}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.nbc"


class _CheckedFiles(IndexDataCacheFile):
    """Numba's way of writing and reading a file, with a checksum at its end, which reading stops before."""

    def save(self, key: str, data: Any) -> None:
        self._save_data(key, data)

    def load(self, key: str) -> Any:
        with suppress(OSError):
            content = Path(self._data_path(key)).read_bytes()
            if content[-DIGEST_BYTES:] == hashlib.sha256(content[:-DIGEST_BYTES]).digest():
                return self._load_data(key)
        return None

    def _dump(self, obj: Any) -> bytes:
        content: bytes = super()._dump(obj)
        return content + hashlib.sha256(content).digest()


@cache
def cache_folder() -> Path | None:
    """Make and return the folder for what is compiled from these sources; None where no place for it is found.

    Code is loaded from there, so nobody but the user may be able to write to the place.
    """
    for place in _places():
        with suppress(OSError):
            place.mkdir(mode=0o700, parents=True, exist_ok=True)
            if _is_the_users_alone(place):
                folder = place / _content_hash()
                folder.mkdir(mode=0o700, exist_ok=True)
                _remember_use(folder)
                return folder
    return None


def _places() -> Iterator[Path]:
    """Yield the places to try: Numba's setting or the user's caches, else beside the sources as Python does."""
    users = os.environ.get("XDG_CACHE_HOME", "")
    users = users if os.path.isabs(users) else os.path.expanduser("~/.cache")
    yield Path(os.environ.get("NUMBA_CACHE_DIR") or users, "lifline/kernels")
    yield PACKAGE / "kernels/__pycache__/kernels"


def _is_the_users_alone(place: Path) -> bool:
    status = place.stat()
    return status.st_uid == os.geteuid() and not status.st_mode & 0o022


def _content_hash() -> str:
    sources = [(PACKAGE / name).read_bytes() for name in SOURCES]
    return hashlib.sha256(repr((VERSIONS, sources)).encode()).hexdigest()


def _remember_use(folder: Path) -> None:
    """Mark a folder as used now, and remove those beside it that were not for the longest time."""
    with suppress(OSError):
        os.utime(folder)
        folders = sorted(folder.parent.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
        for unused in folders[KEPT_FOLDERS + 1 :]:
            shutil.rmtree(unused, ignore_errors=True)
