"""Studies in PostgreSQL, for drivers on many machines; its advisory locks end with the connection that holds them."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from secrets import randbits
from typing import Any

import sqlalchemy
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, RDBStorage
from sqlalchemy.exc import ArgumentError, IntegrityError, SQLAlchemyError

from lifline.errors import TuningError
from lifline.system.secrets import censored, shown

DRIVERS = ("postgresql", "postgresql+psycopg")
ALLOWED = "postgresql://USER@HOST[:PORT]/DATABASE"
CONNECT_SECONDS = 10
CLIENT_KEEPALIVES = {
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
}
SERVER_KEEPALIVES = [f"-c tcp_{name.removeprefix('tcp_')}={value}" for name, value in CLIENT_KEEPALIVES.items()]
"""Within a minute a machine that is gone counts as dead, and its locks are free."""

STUDY, DRIVER, TABLES = 0x11F1, 0x11F2, 0x11F3
"""Advisory locks have two numbers: these tell ours from others', and from each other."""

LOCK = sqlalchemy.text("select pg_advisory_lock(:kind, :key)")
UNLOCK = sqlalchemy.text("select pg_advisory_unlock(:kind, :key)")
HELD = sqlalchemy.text(
    "select objid from pg_locks join pg_database on pg_database.oid = database "
    "where locktype = 'advisory' and granted and classid = :kind and datname = current_database()"
)


class PostgresStore:
    """A database of a team's.

    Raises:
        TuningError: the URL is not allowed, or the database cannot be used.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.shown = shown(url)
        _check(url)
        connecting = {
            "connect_timeout": CONNECT_SECONDS,
            "options": " ".join([str(sqlalchemy.make_url(url).query.get("options", "")), *SERVER_KEEPALIVES]),
            **CLIENT_KEEPALIVES,
        }
        engine = sqlalchemy.create_engine(url, connect_args=connecting, isolation_level="AUTOCOMMIT")
        sqlalchemy.event.listen(engine, "handle_error", self._raise_named)
        self.connection = engine.connect()
        with self._locked(TABLES, 0):  # two that make the tables at once fail
            storage = self._open(connecting)
        sqlalchemy.event.listen(storage.engine, "handle_error", self._raise_named)
        self.optuna: BaseStorage = storage

    @contextmanager
    def exclusive(self, study: str) -> Iterator[None]:
        """Keep the other drivers from a study."""
        key = int.from_bytes(hashlib.sha256(study.encode()).digest()[:4]) >> 1
        with self._locked(STUDY, key):
            yield

    @contextmanager
    def driving(self) -> Iterator[str]:
        """A name for this process, under which it holds its trials while it lives."""
        key = randbits(31)
        with self._locked(DRIVER, key):
            yield str(key)

    def live_drivers(self) -> set[str]:
        """The names of the drivers that are alive."""
        return {str(key) for key in self.connection.execute(HELD, {"kind": DRIVER}).scalars()}

    @contextmanager
    def _locked(self, kind: int, key: int) -> Iterator[None]:
        lock = {"kind": kind, "key": key}
        self.connection.execute(LOCK, lock)
        try:
            yield
        finally:
            if not self.connection.invalidated:  # else the lock is gone
                self.connection.execute(UNLOCK, lock)

    def _open(self, connecting: dict[str, Any]) -> RDBStorage:
        try:
            return RDBStorage(self.url, {"connect_args": connecting})
        except (SQLAlchemyError, StorageInternalError, RuntimeError) as error:  # no right to make tables, or old ones
            raise self._failure(error) from None

    def _raise_named(self, context: sqlalchemy.engine.ExceptionContext) -> None:
        is_error = isinstance(context.original_exception, Exception)  # and no Ctrl-C
        if is_error and not isinstance(context.sqlalchemy_exception, IntegrityError):  # which is Optuna's to handle
            raise self._failure(context.original_exception)

    def _failure(self, error: BaseException) -> TuningError:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        return TuningError(f"studies at {self.shown} do not work: {censored(reason, self.url)}")


def _check(url: str) -> None:
    try:
        parsed = sqlalchemy.make_url(url)
        is_allowed = parsed.drivername in DRIVERS and bool(parsed.database)
    except (ValueError, ArgumentError):
        is_allowed = False
    if not is_allowed:
        raise TuningError(f"--storage is {shown(url)!r}; allowed is {ALLOWED}")
    if find_spec("psycopg") is None:
        raise TuningError("--storage needs psycopg: pip install 'psycopg[binary]'")
