"""MLFLOW_TRACKING_URI: what it may be, and how it is shown without its secrets."""

import os
import re
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote, urlsplit

import sqlalchemy

from lifline.errors import TrackingError
from lifline.paths import repository_root

VARIABLE = "MLFLOW_TRACKING_URI"
CREDENTIALS = ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")
SERVERS = ("http", "https")
DATABASE_SERVERS = ("postgresql", "mysql", "mssql")
ALLOWED = "http(s)://HOST[:PORT], sqlite:////ABSOLUTE/PATH, and postgresql, mysql or mssql://HOST/DATABASE"

_PASSWORD = re.compile(r"(?<=//)([^/:@]*:)?.*(?=@)")
_QUERY = re.compile(r"(?<=\?).*")


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


def shown(uri: str) -> str:
    """A URI without its password; a name that stands alone may be a token, and goes too."""
    return _QUERY.sub("***", _PASSWORD.sub(r"\1***", uri))


def censored(message: str, uri: str) -> str:
    """A message of MLflow's about a URI, without the passwords that the URI and the environment hold."""
    for secret in sorted(_secrets(uri), key=len, reverse=True):
        message = message.replace(secret, "***")
    return message


def _secrets(uri: str) -> set[str]:
    written = [value.strip() for name in CREDENTIALS if (value := os.environ.get(name))]
    written += [value for _, value in parse_qsl(uri.partition("?")[2])]
    if found := _PASSWORD.search(uri):
        written.append(found.group().removeprefix(found.group(1) or ""))
    encoded = [form for value in written for form in (unquote(value), quote(unquote(value), safe=""))]
    return {*written, *encoded} - {""}


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
