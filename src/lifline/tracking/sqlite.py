"""A store that is a SQLite file: its tables are made whole or not at all, its places follow the checkout."""

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote, urlsplit

import sqlalchemy
from alembic.util import CommandError
from mlflow.store.db import utils as mlflow_tables
from mlflow.store.db.base_sql_model import Base
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

from lifline.errors import TrackingError
from lifline.tracking.uri import sqlite_uri

ARTIFACTS = "mlartifacts"
PLACES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)


def is_made(path: Path) -> bool:
    """Whether the file holds a store, not merely what a process that died had made of one."""
    if not path.exists():
        return False
    with closing(sqlite3.connect(path)) as file:
        return not _is_blank(file)


def make_tables(path: Path, artifacts: Path) -> None:
    """Make MLflow's tables, or bring older ones up to date; nothing happens to a file that has today's.

    MLflow does that in dozens of steps; cut short in the file itself, they can be neither gone on with nor begun anew.
    So they are done in memory, and take the file's place in one transaction.

    Args:
        path: the file, which may be empty.
        artifacts: where MLflow's default experiment is to have its artifacts.

    Raises:
        TrackingError: the tables are a newer MLflow's, or another program writes to them meanwhile.
    """
    with closing(sqlite3.connect(path)) as file:
        newest, before = mlflow_tables._get_latest_schema_revision(), _revision(file)
        if before == newest:
            return
        engine, version = sqlalchemy.create_engine("sqlite://"), _data_version(file)
        memory = engine.raw_connection().driver_connection
        assert isinstance(memory, sqlite3.Connection)
        if not (is_new := _is_blank(file)):
            file.backup(memory)
        try:
            _upgrade(engine, _revision(memory))
        except CommandError as error:
            raise TrackingError(f"{path} has tables of another MLflow, version {before}: {error}") from error
        if _data_version(file) != version:
            raise TrackingError(f"{path} is written to by another program, which has to end while it is upgraded")
        memory.backup(file)
        engine.dispose()
    if is_new:
        SqlAlchemyStore(sqlite_uri(path), artifacts.as_uri())


def follow_checkout(path: Path) -> None:
    """Let the store of a checkout that was moved or copied speak of the files that came along, not of the old ones.

    MLflow knows artifacts by absolute places. Only a store that lies in a checkout's root is changed.

    Raises:
        TrackingError: files were left behind.
    """
    root = checkout_of(path)
    if root is None:
        return
    with closing(sqlite3.connect(path)) as file:
        for old_uri in _recorded_roots(file):
            old = _path_of(old_uri)
            if old.exists() and old.samefile(root):
                continue
            if left := [place for place in _places(file, old_uri) if _is_left_behind(place, old_uri, root)]:
                raise TrackingError(
                    f"{path} comes from {old}, and {len(left)} of its artifacts are not here; "
                    f"copy what is missing from {old / ARTIFACTS} to {root / ARTIFACTS}"
                )
            with file:
                for before, after in ((old_uri, root.as_uri()), (str(old), str(root))):
                    _replace_beginnings(file, f"{before}/", f"{after}/")


def checkout_of(path: Path) -> Path | None:
    """The checkout in whose root a store lies, if it does."""
    folder = path.resolve().parent
    return folder if (folder / "dvc.yaml").is_file() else None


def _is_blank(file: sqlite3.Connection) -> bool:
    """Whether there is nothing to lose: no table but MLflow's own, and none with anything of a user's."""
    tables = {name for (name,) in file.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    others = {name for name in tables - set(Base.metadata.tables) if not re.search("alembic_|^sqlite_", name)}
    filled = tables & {"experiments", "registered_models"}  # MLflow makes an experiment once all tables are there
    return not others and not any(file.execute(f"SELECT 1 FROM {name}").fetchone() for name in filled)  # noqa: S608


def _revision(file: sqlite3.Connection) -> str | None:
    if not file.execute("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'").fetchone():
        return None
    found = file.execute("SELECT version_num FROM alembic_version").fetchone()
    return str(found[0]) if found else None


def _data_version(file: sqlite3.Connection) -> int:
    """Another number whenever another connection has changed the file."""
    return int(file.execute("PRAGMA data_version").fetchone()[0])


def _upgrade(engine: sqlalchemy.Engine, revision: str | None) -> None:
    if revision is None:
        mlflow_tables._initialize_tables(engine)
    else:
        mlflow_tables._upgrade_db(engine)


def _recorded_roots(file: sqlite3.Connection) -> list[str]:
    """The checkouts, as URIs, in which experiments of lifline's were made."""
    its = f"name LIKE 'lifline%' AND artifact_location LIKE 'file:///%/{ARTIFACTS}'"
    found = file.execute(f"SELECT DISTINCT artifact_location FROM experiments WHERE {its}")  # noqa: S608
    return [location.removesuffix(f"/{ARTIFACTS}") for (location,) in found]


def _places(file: sqlite3.Connection, beginning: str) -> Iterator[str]:
    """Where runs and logged models below a URI have their files."""
    for table, column in PLACES[1:3]:
        for (place,) in file.execute(f"SELECT {column} FROM {table}"):  # noqa: S608
            if place and place.startswith(f"{beginning}/"):
                yield place


def _is_left_behind(place: str, old_uri: str, root: Path) -> bool:
    return _path_of(place).exists() and not (root / unquote(place.removeprefix(f"{old_uri}/"))).exists()


def _path_of(uri: str) -> Path:
    return Path(unquote(urlsplit(uri).path))


def _replace_beginnings(file: sqlite3.Connection, before: str, after: str) -> None:
    for table, column in PLACES:
        file.execute(
            f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE substr({column}, 1, ?) = ?",  # noqa: S608
            (after, len(before) + 1, len(before), before),
        )
