"""MLflow's stores at the speed of tests; what they hold stays the same."""

import functools
import sqlite3

import sqlalchemy
from mlflow.store.db import utils as mlflow_tables


def quicken_stores() -> None:
    """Let a process read MLflow's migrations once, not at each opening, and not wait for the disk."""
    newest = mlflow_tables._get_latest_schema_revision
    mlflow_tables._get_latest_schema_revision = functools.cache(newest)
    sqlalchemy.event.listen(sqlalchemy.Engine, "connect", _without_waiting)


def _without_waiting(connection: object, _record: object) -> None:
    if isinstance(connection, sqlite3.Connection):
        connection.execute("PRAGMA synchronous = OFF")
