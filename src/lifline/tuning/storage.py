"""Where studies are kept: Optuna's journal by default, PostgreSQL for a team; each with the locks of its drivers."""

from contextlib import AbstractContextManager
from typing import Protocol

import optuna
from optuna.storages import BaseStorage

from lifline.tuning.journal import JournalStore
from lifline.tuning.postgresql import PostgresStore


class Store(Protocol):
    """An Optuna storage, and who works on its studies: a lock is let go of when its holder dies."""

    optuna: BaseStorage
    shown: str
    """Where it is, without secrets."""

    def exclusive(self, study: str) -> AbstractContextManager[None]:
        """Keep the other drivers from a study."""

    def driving(self) -> AbstractContextManager[str]:
        """A name for this process, under which it holds its trials while it lives."""

    def live_drivers(self) -> set[str]:
        """The names of the drivers that are alive."""


def open_store(url: str | None) -> Store:
    """The store at this URL, or the journal of this repository.

    Raises:
        TuningError: it is not allowed, not there, or damaged.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return JournalStore() if url is None else PostgresStore(url)
