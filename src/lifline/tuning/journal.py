"""Studies in Optuna's journal file, which several processes of this machine may use at once."""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from secrets import token_hex
from typing import Any

from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.storages.journal._file import BaseJournalFileLock

from lifline.errors import TuningError
from lifline.paths import repository_root
from lifline.system.files import naming
from lifline.system.locks import abandoned, locked

JOURNAL = "optuna.journal"


class JournalStore:
    """The journal of this repository.

    Raises:
        TuningError: it is damaged.
    """

    def __init__(self) -> None:
        path = repository_root() / JOURNAL
        self.shown = JOURNAL
        try:
            with naming(path):
                self.optuna: BaseStorage = JournalStorage(_Journal(path))
        except (ValueError, KeyError, TypeError, AssertionError) as error:
            raise TuningError(
                f"{path} is damaged: {type(error).__name__} {error}; move it away to begin anew"
            ) from None

    def alone_in(self, study: str) -> AbstractContextManager[None]:
        """Keep the other drivers from a study."""
        return locked(_locks() / "studies" / study)  # of their own folder, since a study may have any name

    @contextmanager
    def driving(self) -> Iterator[str]:
        """A name for this process, under which it holds its trials while it lives."""
        with ExitStack() as held:
            with locked(_locks() / "drivers.lock"):  # else what is just being made looks abandoned
                for path in abandoned(_drivers()):
                    path.unlink()
                driver = _drivers() / token_hex(8)
                held.enter_context(locked(driver))
            yield driver.name
            driver.unlink()

    def living(self) -> set[str]:
        """The names of the drivers that are alive."""
        with locked(_locks() / "drivers.lock"):
            dead = set(abandoned(_drivers()))
            return {path.name for path in _drivers().glob("*") if path not in dead}


class _Journal(JournalFileBackend):
    """Optuna's journal, under a lock that the system lets go of when its holder dies."""

    def __init__(self, path: Path) -> None:
        super().__init__(str(path), lock_obj=_JournalLock(path))
        self.path = path

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Append records; an error names the file."""
        with naming(self.path):
            super().append_logs(logs)


class _JournalLock(BaseJournalFileLock):
    def __init__(self, path: Path) -> None:
        self.path = path
        self.held = ExitStack()

    def acquire(self) -> bool:
        self.held.enter_context(locked(_locks() / "journal.lock"))
        _cut_unfinished_line(self.path)
        return True

    def release(self) -> None:
        self.held.close()


def _cut_unfinished_line(path: Path) -> None:
    """What a full disk or a power cut left of the last record: nobody was told that it is there."""
    content = path.read_bytes()
    if not content.endswith(b"\n"):
        os.truncate(path, content.rfind(b"\n") + 1)


def _locks() -> Path:
    return repository_root() / ".tuning"


def _drivers() -> Path:
    return _locks() / "drivers"
