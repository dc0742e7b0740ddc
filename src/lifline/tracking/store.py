"""MLflow's store: opening it, alone in it, and what it says when it fails."""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from textwrap import shorten

import mlflow
import requests
import sqlalchemy
from mlflow.exceptions import MlflowException

from lifline.errors import TrackingError
from lifline.paths import repository_root
from lifline.system.environment import SETTINGS
from lifline.system.locks import locked
from lifline.system.secrets import censored, shown
from lifline.tracking.uri import VARIABLE, is_server, read_tracking_uri

EXPERIMENT = "lifline"
EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}  # the UI's view for training, not for agents
RETRIES = "MLFLOW_HTTP_REQUEST_MAX_RETRIES"
STORE_ERRORS = (MlflowException, requests.RequestException, sqlalchemy.exc.SQLAlchemyError)


@contextmanager
def store() -> Iterator[mlflow.MlflowClient]:
    """A client of the store, outside of any run.

    Raises:
        TrackingError: as `training_run`.
    """
    uri = read_tracking_uri()
    open_store(uri, EXPERIMENT)
    with translated_errors(uri):
        yield client()


@contextmanager
def alone() -> Iterator[None]:
    """Keep other processes of lifline out of the open store, where it is a file."""
    with alone_in(mlflow.get_tracking_uri()):
        yield


@contextmanager
def unless_there() -> Iterator[None]:
    """Let it pass that what the body makes is there already; another process may just have made it."""
    try:
        yield
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def open_store(uri: str, experiment: str) -> str:
    """Connect, and return the id of the experiment."""
    advice = f"; start that server, or unset {VARIABLE} to use the store of this repository" if is_server(uri) else ""
    with translated_errors(uri, advice), failing_fast():
        try:
            if not is_server(uri):  # MLflow itself would try for minutes
                sqlalchemy.create_engine(uri).connect().close()
            mlflow.set_tracking_uri(uri)
            with alone_in(uri):
                return open_experiment(uri, experiment)
        except ModuleNotFoundError as missing:
            raise TrackingError(f"MLflow at {shown(uri)} needs a driver: {missing}") from missing
        except (ValueError, TypeError) as wrong:  # a setting in the environment or in the URI
            raise TrackingError(f"MLflow at {shown(uri)} does not work: {censored(str(wrong), uri)}") from wrong


def alone_in(uri: str) -> AbstractContextManager[None]:
    """Keep other processes out of a SQLite file: two that make its tables at once fail."""
    if not uri.startswith("sqlite"):
        return nullcontext()
    return locked(Path(f"{sqlalchemy.make_url(uri).database}.lock"))


def open_experiment(uri: str, name: str) -> str:
    """The experiment's id; it is made where the store has none, with its artifacts here unless a server has its own."""
    experiment = client().get_experiment_by_name(name)
    if experiment is None:
        artifacts = None if is_server(uri) else (repository_root() / "mlartifacts").as_uri()
        with unless_there():
            return str(client().create_experiment(name, artifact_location=artifacts, tags=EXPERIMENT_TAGS))
        experiment = client().get_experiment_by_name(name)
    if experiment is None or experiment.lifecycle_stage != "active":
        raise TrackingError(
            f"MLflow at {shown(uri)} has no active experiment {name}; restore or rename the deleted one"
        )
    return str(experiment.experiment_id)


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
    """Turn an error of the store into a line that names it."""
    try:
        yield
    except STORE_ERRORS as error:
        raise TrackingError(f"MLflow at {shown(uri)} does not work: {censored(reason(error), uri)}{advice}") from error


def reason(error: BaseException) -> str:
    """The first line of an error; of the system's own, where there is one under MLflow's wrappers."""
    chain = [error]
    while cause := chain[-1].__cause__ or chain[-1].__context__:
        chain.append(cause)
    plain = next((inner for inner in reversed(chain) if isinstance(inner, OSError)), error)
    text = getattr(plain, "strerror", None) or str(plain).strip() or type(plain).__name__
    return shorten(text.splitlines()[0], 300, placeholder="...")


def client() -> mlflow.MlflowClient:
    """MLflow's client, of the store that is open."""
    return mlflow.MlflowClient()
