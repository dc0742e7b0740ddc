"""MLflow's store: opening it, its lock, and what it says when it fails."""

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from textwrap import shorten
from typing import TypeVar

import requests
import sqlalchemy
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.store.entities import PagedList

from lifline.errors import TrackingError
from lifline.paths import repository_root
from lifline.system.environment import SETTINGS
from lifline.system.locks import locked
from lifline.system.secrets import censored, shown
from lifline.tracking import sqlite
from lifline.tracking.client import client_of, steady_client
from lifline.tracking.logs import quiet_mlflow
from lifline.tracking.uri import VARIABLE, is_server, read_tracking_uri, sqlite_file

EXPERIMENT = "lifline"
EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}  # the UI's view for training, not for agents
RETRIES = "MLFLOW_HTTP_REQUEST_MAX_RETRIES"
WORKSPACES = ("MLFLOW_ENABLE_WORKSPACES", "MLFLOW_WORKSPACE")
"""Settings of what only a server has; they would have MLflow find nothing in a store of lifline's."""

STORE_ERRORS = (MlflowException, requests.RequestException, sqlalchemy.exc.SQLAlchemyError, sqlite3.Error)
HOW_TO_REGISTER = (
    "`dvc repro` trains and registers a model; where it says that all is up to date, "
    "`dvc repro --force --single-item export` registers the one that is there"
)

T = TypeVar("T")


@contextmanager
def store() -> Iterator[MlflowClient]:
    """A client of the store that is there; neither a store nor an experiment is made.

    Raises:
        TrackingError: there is no store yet; or MLflow cannot be reached.
    """
    uri = read_tracking_uri()
    _connect(uri)
    with translated_errors(uri):
        yield client_of(uri)


def open_store(uri: str, experiment: str) -> str:
    """Connect, and return the id of the experiment; both are made where they are not there."""
    _connect(uri, make=True)
    with translated_errors(uri), failing_fast(), exclusive(uri):
        return open_experiment(uri, experiment)


def exclusive(uri: str) -> AbstractContextManager[None]:
    """Keep other processes of lifline out of the store, where it is a file."""
    path = sqlite_file(uri)
    return locked(Path(f"{path}.lock")) if path else nullcontext()


@contextmanager
def unless_there() -> Iterator[None]:
    """Let it pass that what the body makes is there already; another process may just have made it."""
    try:
        yield
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def open_experiment(uri: str, name: str) -> str:
    """The experiment's id; it is made where the store has none, with its artifacts here unless a server has its own."""
    client = steady_client(uri)  # a run of another experiment may be open
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        artifacts = None if is_server(uri) else artifacts_folder(uri).as_uri()
        with unless_there():
            return str(client.create_experiment(name, artifact_location=artifacts, tags=EXPERIMENT_TAGS))
        experiment = client.get_experiment_by_name(name)
    if experiment is None:
        raise TrackingError(f"MLflow at {shown(uri)} has no experiment {name}, and makes none")
    if experiment.lifecycle_stage != "active":
        raise TrackingError(
            f"MLflow at {shown(uri)} has its experiment {name} among the deleted ones; to have it back: "
            f"{VARIABLE}='{shown(uri)}' mlflow experiments restore --experiment-id {experiment.experiment_id}"
        )
    return str(experiment.experiment_id)


def artifacts_folder(uri: str) -> Path:
    """Where the artifacts of a store without a server lie: beside it in its checkout, else in this one."""
    path = sqlite_file(uri)
    return ((path and sqlite.checkout_of(path)) or repository_root()) / sqlite.ARTIFACTS


def all_pages(search: Callable[..., PagedList[T]], *arguments: object, **named: object) -> Iterator[T]:
    """All that one of the client's searches finds, which answers with a page at a time."""
    page = search(*arguments, **named)
    yield from page
    while page.token:
        page = search(*arguments, **named, page_token=page.token)
        yield from page


@contextmanager
def failing_fast() -> Iterator[None]:
    """Ask twice, not for a minute: at the start the user still waits, at the end the store may be known to be gone."""
    patience = os.environ.get(RETRIES)
    if patience == SETTINGS[RETRIES]:  # else it is the user's own
        os.environ[RETRIES] = "1"
    try:
        yield
    finally:
        if patience is not None:
            os.environ[RETRIES] = patience


@contextmanager
def translated_errors(uri: str, advice: str = "") -> Iterator[None]:
    """Turn an error of the store into a line that names it; one that came of an interruption, into that."""
    try:
        yield
    except STORE_ERRORS as error:
        if _first_of_chain(error, KeyboardInterrupt):
            raise KeyboardInterrupt from error
        raise TrackingError(f"MLflow at {shown(uri)} does not work: {censored(reason(error), uri)}{advice}") from error


def reason(error: BaseException) -> str:
    """The first line of an error; of the system's or the database's own, where there is one under the wrappers."""
    plain = _first_of_chain(error, OSError) or _first_of_chain(error, sqlalchemy.exc.DBAPIError) or error
    plain = getattr(plain, "orig", None) or plain
    text = getattr(plain, "strerror", None) or str(plain).strip() or type(plain).__name__
    return shorten(text.splitlines()[0], 300, placeholder="...")


def _connect(uri: str, make: bool = False) -> None:
    """See that the store is there and answers."""
    quiet_mlflow()
    if not is_server(uri):
        for name in WORKSPACES:
            os.environ.pop(name, None)
    advice = f"; start that server, or unset {VARIABLE} to use the store of this repository" if is_server(uri) else ""
    with translated_errors(uri, advice), failing_fast():
        try:
            if path := sqlite_file(uri):
                _open_file(uri, path, make)
            elif is_server(uri):
                client_of(uri).get_experiment_by_name(EXPERIMENT)
            else:
                _reach_database(uri, make)
        except ModuleNotFoundError as missing:
            raise TrackingError(f"MLflow at {shown(uri)} needs a driver: {missing}") from missing
        except (ValueError, TypeError) as wrong:  # a setting in the environment or in the URI
            raise TrackingError(f"MLflow at {shown(uri)} does not work: {censored(str(wrong), uri)}") from wrong


def _open_file(uri: str, path: Path, make: bool) -> None:
    if not make and not sqlite.is_made(path):
        raise _no_store(uri)
    sqlalchemy.create_engine(uri).connect().close()  # a folder that is not there is not to be made
    with exclusive(uri):
        sqlite.make_tables(path, artifacts_folder(uri))
        sqlite.follow_checkout(path)


def _reach_database(uri: str, make: bool) -> None:
    """Ask a database whether it is there, and has a store; MLflow itself would try for minutes, and make one."""
    engine = sqlalchemy.create_engine(uri)
    is_made = sqlalchemy.inspect(engine).has_table("experiments")
    engine.dispose()
    if not make and not is_made:
        raise _no_store(uri)


def _no_store(uri: str) -> TrackingError:
    return TrackingError(f"there is no store of MLflow at {shown(uri)} yet; {HOW_TO_REGISTER}")


def _first_of_chain(error: BaseException, kind: type[BaseException]) -> BaseException | None:
    """The error of this kind that others in the chain were raised for."""
    chain = [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) and cause not in chain:
        chain.append(cause)
    return next((inner for inner in reversed(chain) if isinstance(inner, kind)), None)
