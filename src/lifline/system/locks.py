"""File locks: the system lets go of one when the process that holds it dies, however it dies."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


class LockHeldError(BlockingIOError):
    """Another process holds a lock."""


@contextmanager
def locked(path: Path, wait: bool = True) -> Iterator[None]:
    """Hold the lock of a file, which is made where there is none; who holds it may rename or remove the file.

    Raises:
        LockHeldError: another process holds it, and `wait` is false.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with _held(path, os.O_CREAT, wait):
        yield


def abandoned(folder: Path) -> Iterator[Path]:
    """The files in a folder that no living process holds, each locked while the caller looks at it."""
    for path in folder.glob("*"):
        with suppress(OSError), _held(path, 0, wait=False):
            yield path


@contextmanager
def _held(path: Path, flags: int, wait: bool) -> Iterator[None]:
    while True:
        descriptor = os.open(path, os.O_WRONLY | flags, 0o666)  # which child processes do not inherit
        try:
            _lock(descriptor, path, wait)
            if _is_open_at(descriptor, path):  # else it was renamed or removed while this one waited
                yield
                return
        finally:
            os.close(descriptor)


def _lock(descriptor: int, path: Path, wait: bool) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        kind = LockHeldError if isinstance(error, BlockingIOError) else OSError
        raise kind(error.errno, error.strerror, str(path)) from None


def _is_open_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
