"""The search space: which params a study varies, and how far."""

import json
from collections.abc import Mapping
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from lifline.errors import ParamsError
from lifline.params import Params, shortened

NOT_VARIED = ("data.", "export.", "train.seed", "train.device", "train.epochs")
"""Scores would not compare, or are not of the network."""


def read_space(params: Params) -> dict[str, BaseDistribution]:
    """The distributions of `tune.space`, by dotted name.

    Raises:
        ParamsError: a name is no param that may be varied, or a range is empty or not all of it is allowed.
    """
    if not params.tune.space:
        raise ParamsError("tune.space is empty; allowed are params by dotted name, like network.beta")
    try:
        base = params.with_values({"train.epochs": params.tune.epochs})
    except ParamsError as error:
        raise ParamsError(f"{error}, with tune.epochs in its place") from None
    return {name: _distribution(name, entry, base) for name, entry in params.tune.space.items()}


def as_params(suggested: Mapping[str, Any], params: Params) -> dict[str, Any]:
    """What Optuna suggested, as values of params."""
    lists = {name for name, value in params.flat().items() if isinstance(value, list)}
    return {name: json.loads(value) if name in lists else value for name, value in suggested.items()}


def as_suggested(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values of params as Optuna keeps them, which knows no lists."""
    return {name: _encoded(value) for name, value in values.items()}


def _encoded(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, list) else value


def _distribution(name: str, entry: Any, params: Params) -> BaseDistribution:
    where = f"tune.space.{name}"
    varied = [known for known in params.flat() if not known.startswith(NOT_VARIED)]
    if name not in varied:
        raise ParamsError(f"{where} is unknown; allowed are {', '.join(varied)}")
    if isinstance(entry, list) and entry:
        for choice in entry:
            _check(where, name, choice, params)
        if params.flat()[name] not in entry:
            raise ParamsError(f"{where} is {shortened(entry)}; it must hold {name} as it is, the first trial's")
        return CategoricalDistribution([_encoded(choice) for choice in entry])
    if not isinstance(entry, dict) or not {"low", "high"} <= set(entry) <= {"low", "high", "log"}:
        raise ParamsError(
            f"{where} is {shortened(entry)}; allowed is a list of choices, or low and high, and log: true"
        )
    low, high, log = entry["low"], entry["high"], entry.get("log", False)
    value = params.flat()[name]
    if isinstance(value, str | list):
        raise ParamsError(f"{where} is {shortened(entry)}; allowed is a list of choices")
    for bound in (low, high):
        _check(where, name, bound, params)
    if low > high:
        raise ParamsError(f"{where} has low {low} and high {high}; allowed is a low that is not above high")
    if not isinstance(log, bool) or (log and low <= 0):
        raise ParamsError(
            f"{where} has log {shortened(log)} and low {low}; allowed is true with a low above 0, or false"
        )
    if not low <= value <= high:
        raise ParamsError(f"{where} is {low} to {high}; it must hold {name} as it is, {value}, the first trial's")
    return IntDistribution(low, high, log) if isinstance(value, int) else FloatDistribution(low, high, log)


def _check(where: str, name: str, value: Any, params: Params) -> None:
    try:
        params.with_values({name: value})
    except ParamsError as error:
        raise ParamsError(f"{where}: {error}") from None
