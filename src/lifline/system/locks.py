"""File locks: the system lets go of one when the process that holds it dies, however it dies."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lifline.system.files import naming


@contextmanager
def locked(path: Path, wait: bool = True) -> Iterator[None]:
    """Hold the lock of a file, which is made where there is none.

    Raises:
        BlockingIOError: another process holds it, and `wait` is false.
    """
    with naming(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o666)  # which child processes do not inherit
    try:
        with naming(path):
            fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def abandoned(folder: Path) -> Iterator[Path]:
    """The files in a folder that no living process holds, each locked while the caller looks at it."""
    for path in folder.glob("*"):
        with suppress(OSError), locked(path, wait=False):
            yield path
