"""Studies in Optuna's journal file, which several processes of this machine may use at once."""

import os
from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from secrets import token_hex
from typing import Any

from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock

from lifline.errors import TuningError
from lifline.paths import repository_root
from lifline.system.files import naming
from lifline.system.locks import abandoned, locked
from lifline.system.signals import signals_held_off
from lifline.tuning.records import CheckedLines

JOURNAL = "optuna.journal"
_OURS = f".tuning/../{JOURNAL}"
"""The journal, as the link that is Optuna's lock has it where lifline made it; Optuna's programs name it otherwise."""


class JournalStore:
    """The journal of this repository.

    Raises:
        TuningError: it is damaged, here or wherever it is used.
    """

    def __init__(self) -> None:
        path = repository_root() / JOURNAL
        self.shown = JOURNAL
        with naming(path):
            self.optuna: BaseStorage = JournalStorage(_Journal(path))

    def exclusive(self, study: str) -> AbstractContextManager[None]:
        """Keep the other drivers from a study; here from all, since a lock for each would leave as many files."""
        return locked(_locks() / "studies.lock")

    @contextmanager
    def driving(self) -> Iterator[str]:
        """A name for this process, under which it holds its trials while it lives."""
        driver = _drivers() / token_hex(8)
        with ExitStack() as held:
            with signals_held_off(), locked(_locks() / "drivers.lock"):  # else what is being made looks abandoned
                for path in abandoned(_drivers()):
                    path.unlink()
                held.enter_context(locked(driver))
                held.callback(driver.unlink, missing_ok=True)
            yield driver.name

    def live_drivers(self) -> set[str]:
        """The names of the drivers that are alive."""
        with locked(_locks() / "drivers.lock"):
            dead = set(abandoned(_drivers()))
            return {path.name for path in _drivers().glob("*") if path not in dead}


class _Journal(JournalFileBackend):
    """Optuna's journal, of which each line is checked before it is used or another is written.

    It is under a lock that the system lets go of when its holder dies. Who writes has Optuna's own lock too, which
    keeps out programs such as optuna-dashboard.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self.path = path
        self.checked = CheckedLines()
        self.optunas_lock = JournalFileSymlinkLock(str(path.parent / _OURS))

    def read_logs(self, log_number_from: int) -> Generator[dict[str, Any], None, None]:
        """Read the records from this one on."""
        with self._exclusive():
            self._check_new_lines()
            records = list(super().read_logs(log_number_from))
        yield from records

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Append records."""
        with self._exclusive(), self._optuna_kept_out():
            self._check_new_lines()
            # What a full disk or a power cut left of a last record goes: nobody was told that it is there.
            os.truncate(self.path, self.checked.num_bytes)
            with self.path.open("ab") as file:
                file.write(self.checked.next_lines(logs))
                file.flush()
                os.fsync(file.fileno())

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        with naming(self.path), locked(_locks() / "journal.lock"):
            yield

    @contextmanager
    def _optuna_kept_out(self) -> Iterator[None]:
        """Hold Optuna's lock. What a killed process left of it goes, that of another program after Optuna's 30 s."""
        self._remove_our_link()
        self.optunas_lock.acquire()
        try:
            yield
        finally:
            self._remove_our_link()

    def _remove_our_link(self) -> None:
        """Remove Optuna's lock if a process of ours made it: this one, or one that died, since here is no other."""
        lock = self.path.with_name(f"{self.path.name}.lock")
        with suppress(OSError):  # there is none, or it is no link
            if lock.readlink().match(_OURS):
                lock.unlink()

    def _check_new_lines(self) -> None:
        num_bytes = self.path.stat().st_size
        if num_bytes < self.checked.num_bytes:
            raise TuningError(f"{self.path} has become shorter; nothing else may write to it while it is used")
        if num_bytes == self.checked.num_bytes:
            return
        with self.path.open("rb") as file:
            file.seek(self.checked.num_bytes)
            for line in file:
                if line.endswith(b"\n"):
                    self._check(line)

    def _check(self, line: bytes) -> None:
        try:
            self.checked.check(line)
        except ValueError as error:
            number = self.checked.num_lines + 1
            raise TuningError(
                f"{self.path} is damaged: line {number} {error}; the lines above it are whole: remove it and all below "
                "it, or move the file away to begin anew"
            ) from None


def _locks() -> Path:
    return repository_root() / ".tuning"


def _drivers() -> Path:
    return _locks() / "drivers"
