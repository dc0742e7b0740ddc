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
        return f"sqlite:///{repository_root() / 'mlflow.db'}"
    if not _is_allowed(uri):
        raise TrackingError(f"{VARIABLE} is {shown(uri)!r}; allowed is {ALLOWED}")
    return uri


def is_server(uri: str) -> bool:
    """Whether MLflow is spoken to over HTTP."""
    return urlsplit(uri).scheme in SERVERS


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
