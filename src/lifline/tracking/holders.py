"""Who holds a run: a process that does keeps a lock file, by which the next knows the runs that a kill left open."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex
from tempfile import TemporaryDirectory

from lifline.paths import repository_root
from lifline.system.locks import abandoned, locked
from lifline.system.secrets import shown


@contextmanager
def holding(uri: str) -> Iterator[str]:
    """A name under which this process may hold a run of a store.

    Its lock file stays until `let_go`, since it must outlive a run that cannot be closed.
    """
    lock = _folder() / token_hex(8)
    with locked(lock):
        lock.write_text(_shown_store(uri), encoding="utf-8")
        yield lock.name


def let_go(holder: str) -> None:
    """Remove the lock file of a holder whose run is closed."""
    (_folder() / holder).unlink(missing_ok=True)


@contextmanager
def temporary_folder(holder: str) -> Iterator[Path]:
    """A folder that vanishes after use, or else with what is left of its holder."""
    with TemporaryDirectory(prefix=f"{holder}.", dir=_folder()) as folder:
        yield Path(folder)


def dead_holders(uri: str) -> Iterator[str]:
    """The names of the processes that a SIGKILL or a power cut let hold runs of a store: nobody holds their lock files.

    Each is forgotten once the caller has let go of its runs.
    """
    for lock in abandoned(_folder()):
        for left in _folder().glob(f"{lock.name}.*"):
            shutil.rmtree(left, ignore_errors=True)
        if lock.read_text(encoding="utf-8") in ("", _shown_store(uri)):  # else another store's
            yield lock.name
            lock.unlink()


def _folder() -> Path:
    return repository_root() / ".running"


def _shown_store(uri: str) -> str:
    """A store as a lock file names it: without secrets, and the same in a folder that was moved."""
    return shown(uri).replace(str(repository_root()), ".")
