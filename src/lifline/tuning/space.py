"""The search space: which params a study varies, and how far."""

import json
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from lifline.errors import ParamsError
from lifline.params import Params
from lifline.params.document import shortened

NOT_VARIED = ("data.", "export.", "train.seed", "train.device", "train.epochs")
"""Scores would not compare, or are not of the network."""

MAX_LENGTH = 100
"""Of a choice that is a list."""

SHAPES = "a list of choices, or low and high, and log: true"


def read_space(params: Params) -> dict[str, BaseDistribution]:
    """The distributions of `tune.space`, by dotted name.

    Raises:
        ParamsError: a name is no param that may be varied, or a range is empty or not all of it is allowed.
    """
    space = params.tune.space
    if not space:
        raise ParamsError("tune.space is empty; allowed are params by dotted name, like network.beta")
    varied = [name for name in params.flat() if not name.startswith(NOT_VARIED)]
    for name, entry in space.items():
        if name not in varied:
            near = [] if name in params.flat() else get_close_matches(name, varied, n=1)
            meant = f" (did you mean {near[0]}?)" if near else ""
            raise ParamsError(f"tune.space.{shortened(name)[1:-1]} is unknown{meant}; allowed are {', '.join(varied)}")
        if not _has_shape(entry):  # before any of it is copied: what YAML's aliases repeat may fill the memory
            raise ParamsError(f"tune.space.{name} is {shortened(entry)}; allowed is {SHAPES}")
    try:
        base = params.with_values({"train.epochs": params.tune.epochs})
    except ParamsError as error:
        raise ParamsError(f"{error}, with tune.epochs in its place") from None
    return {name: _distribution(name, entry, base) for name, entry in space.items()}


def as_params(suggested: Mapping[str, Any]) -> dict[str, Any]:
    """What Optuna suggested, as values of params."""
    return {name: json.loads(value) if _is_encoded(value) else value for name, value in suggested.items()}


def as_suggested(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values of params as Optuna keeps them, which knows no lists."""
    return {name: _encoded(value) for name, value in values.items()}


def _is_encoded(value: Any) -> bool:
    return isinstance(value, str) and value.startswith("[")


def _encoded(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, list) else value


def _has_shape(entry: Any) -> bool:
    """Whether an entry is a list of choices or a range, whatever its values are."""
    if isinstance(entry, list):
        return bool(entry) and all(_is_choice(choice) for choice in entry)
    return (
        isinstance(entry, dict)
        and {"low", "high"} <= set(entry) <= {"low", "high", "log"}
        and all(_is_scalar(value) for value in entry.values())
    )


def _is_choice(value: Any) -> bool:
    if isinstance(value, list):
        return len(value) <= MAX_LENGTH and all(_is_scalar(element) for element in value)
    return _is_scalar(value)


def _is_scalar(value: Any) -> bool:
    return isinstance(value, bool | int | float | str)


def _distribution(name: str, entry: Any, params: Params) -> BaseDistribution:
    where, value = f"tune.space.{name}", params.flat()[name]
    if isinstance(entry, list):
        choices = [_checked(where, name, choice, params) for choice in entry]
        if value not in choices:
            raise ParamsError(f"{where} is {shortened(entry)}; it must hold {name} as it is, the first trial's")
        return CategoricalDistribution([_encoded(choice) for choice in choices])
    if isinstance(value, bool | str | list):
        raise ParamsError(f"{where} is {shortened(entry)}; allowed is a list of choices")
    low, high, log = entry["low"], entry["high"], entry.get("log", False)
    for bound in (low, high):
        _checked(where, name, bound, params)
    if low > high:
        raise ParamsError(f"{where} has low {low} and high {high}; allowed is a low that is not above high")
    if not isinstance(log, bool) or (log and low <= 0):
        raise ParamsError(
            f"{where} has log {shortened(log)} and low {low}; allowed is true with a low above 0, or false"
        )
    if not low <= value <= high:
        raise ParamsError(f"{where} is {low} to {high}; it must hold {name} as it is, {value}, the first trial's")
    return IntDistribution(low, high, log) if isinstance(value, int) else FloatDistribution(low, high, log)


def _checked(where: str, name: str, value: Any, params: Params) -> Any:
    """A value as params hold it."""
    try:
        return params.with_values({name: value}).flat()[name]
    except ParamsError as error:
        raise ParamsError(f"{where}: {error}") from None
