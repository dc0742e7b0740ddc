"""MLflow's client, as runs use it."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from mlflow import MlflowClient

from lifline.system.signals import signals_held_off
from lifline.tracking.uri import is_server


def client_of(uri: str) -> MlflowClient:
    """MLflow's client, of this store and its registry, whatever else is set."""
    return MlflowClient(uri, registry_uri=uri)


def steady_client(uri: str) -> MlflowClient:
    """A client of a store in whose calls no signal interrupts SQLAlchemy: the call is finished first.

    An exception in the middle of a transaction would leave it open, and the store locked for whoever closes the run.
    A server does its transactions itself, and may take long to answer: its calls are interrupted.
    """
    return client_of(uri) if is_server(uri) else _SteadyClient(uri, registry_uri=uri)


class _SteadyClient(MlflowClient):
    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        return _steady(found) if callable(found) and not name.startswith("_") else found


def _steady(call: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(call)
    def uninterrupted(*arguments: object, **named: object) -> Any:
        with signals_held_off():
            return call(*arguments, **named)

    return uninterrupted
