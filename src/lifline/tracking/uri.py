"""MLFLOW_TRACKING_URI: what it may be."""

import os
from pathlib import Path
from urllib.parse import urlsplit

import sqlalchemy

from lifline.errors import TrackingError
from lifline.paths import repository_root
from lifline.system.secrets import shown

VARIABLE = "MLFLOW_TRACKING_URI"
SERVERS = ("http", "https")
DATABASE_SERVERS = ("postgresql", "mysql", "mssql")
ALLOWED = "http(s)://HOST[:PORT], sqlite:////ABSOLUTE/PATH, and postgresql, mysql or mssql://HOST/DATABASE"


def read_tracking_uri() -> str:
    """Where the runs are kept: what `MLFLOW_TRACKING_URI` says, or else a SQLite file of this repository.

    Raises:
        TrackingError: the variable holds what MLflow cannot use, or would lose in a copy of the repository.
    """
    uri = os.environ.get(VARIABLE)
    if not uri:
        return sqlite_uri(repository_root() / "mlflow.db")
    if not _is_allowed(uri):
        raise TrackingError(f"{VARIABLE} is {shown(uri)!r}; allowed is {ALLOWED}")
    return uri


def sqlite_uri(path: Path) -> str:
    """The URI of a store in a SQLite file.

    It names the driver, since MLflow takes what follows `sqlite:///` for a path as it stands, and makes its folder.
    """
    return sqlalchemy.URL.create("sqlite+pysqlite", database=str(path)).render_as_string()


def sqlite_file(uri: str) -> Path | None:
    """The file of a SQLite store; None for any other store."""
    return Path(sqlalchemy.make_url(uri).database or "") if uri.startswith("sqlite") else None


def is_server(uri: str) -> bool:
    """Whether MLflow is spoken to over HTTP."""
    return urlsplit(uri).scheme in SERVERS


def without_credentials(url: str) -> str:
    """A link that may be shown: without login and query."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="").geturl()


def _is_allowed(uri: str) -> bool:
    try:
        if is_server(uri):
            return bool(urlsplit(uri).hostname) and urlsplit(uri).port != 0
        url = sqlalchemy.make_url(uri)
    except (ValueError, sqlalchemy.exc.ArgumentError):
        return False
    if url.get_backend_name() == "sqlite":
        return not url.host and Path(url.database or "").is_absolute()
    return url.get_backend_name() in DATABASE_SERVERS and bool(url.database)
