"""A study's life: what it is, and which trial is next."""

import hashlib
import json
import re
import warnings
from collections.abc import Sequence
from typing import Literal

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, Trial, TrialState

from lifline.errors import ParamsError, TuningError
from lifline.params import Params
from lifline.tuning.space import as_suggested, read_space
from lifline.tuning.storage import Store

Cost = Literal["synaptic_operations", "num_steps"]
DEFINITION = "definition"
DRIVER = "driver"
STOPPED = "stopped"
"""Of a trial that is tried again: the one before was stopped, and is not to blame."""

AGAIN = "again"
"""The number of the trial that died, whose params a trial has."""

STARTUP_TRIALS = 5
MAX_DEATHS = 3
"""As often as a trial's process may die with it, by which the trial may be to blame."""

optuna.logging.set_verbosity(optuna.logging.ERROR)


def open_study(store: Store, params: Params, cost: Cost | None, name: str | None) -> Study:
    """The study of these params, which is made where there is none; its first trial is the params as they are.

    Raises:
        ParamsError: the space is not allowed.
        TuningError: the study with this name is another's.
    """
    space = read_space(params)
    definition = json.dumps(
        {"space": params.tune.space, "epochs": params.tune.epochs, "cost": cost, "base": params.flat()}, sort_keys=True
    )
    objective = "accuracy" if cost is None else f"accuracy-{cost}"
    if name is not None and not re.fullmatch(r"[\w.-]+", name, re.ASCII):
        raise TuningError(f"study is {name!r}; allowed are letters, digits, and the signs _ . -")
    name = name or f"{objective}-{hashlib.sha256(definition.encode()).hexdigest()[:8]}"
    directions = [StudyDirection.MAXIMIZE] + [StudyDirection.MINIMIZE] * (cost is not None)
    if cost == "num_steps" and "network.num_steps" not in space:
        raise ParamsError(
            "the cost is num_steps, but tune.space has no network.num_steps; every trial would cost the same"
        )
    with store.alone_in(name):
        study = optuna.create_study(
            storage=store.optuna,
            study_name=name,
            directions=directions,
            load_if_exists=True,
            pruner=optuna.pruners.MedianPruner(n_startup_trials=STARTUP_TRIALS, n_warmup_steps=1),
        )
        _check_is_ours(study, directions)
        if not study.get_trials(deepcopy=False):
            current = {param: value for param, value in params.flat().items() if param in space}
            study.enqueue_trial(as_suggested(current))
        if DEFINITION not in study.user_attrs:
            _name_objectives(study, cost)
            study.set_user_attr(DEFINITION, definition)
    if study.user_attrs[DEFINITION] != definition:
        raise TuningError(f"study {name} has another space, objective or other base params; give another --study")
    return study


def _check_is_ours(study: Study, directions: list[StudyDirection]) -> None:
    begun = any(trial.state != TrialState.WAITING for trial in study.get_trials(deepcopy=False))
    if DEFINITION not in study.user_attrs and (begun or study.directions != directions):
        raise TuningError(f"study {study.study_name} is not lifline's; give another --study")


def is_full(study: Study, budget: int) -> bool:
    """Whether `budget` trials are done or being done."""
    return len(counted(study.get_trials(deepcopy=False))) >= budget


def _name_objectives(study: Study, cost: Cost | None) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        study.set_metric_names(["validation accuracy", *([cost] if cost else [])])


def next_trial(store: Store, study: Study, params: Params, budget: int, driver: str) -> Trial | None:
    """The next trial, as long as fewer than `budget` are done, or being done.

    The sampler's seed is of how many there are, so that a study that was stopped goes on as if it had not been.
    """
    space = read_space(params)
    with store.alone_in(study.study_name):
        number = len(counted(study.get_trials(deepcopy=False)))
        if number >= budget:
            return None
        study.sampler = optuna.samplers.TPESampler(seed=(params.train.seed + number) % 2**32)
        trial = study.ask(space)
        trial.set_user_attr(DRIVER, driver)
        return trial


def counted(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """The trials that take a place in the budget: one that died does not, since it is tried again."""
    again = {trial.user_attrs.get(AGAIN) for trial in trials}
    return [trial for trial in trials if trial.state != TrialState.WAITING and trial.number not in again]


def is_tried_again(study: Study, number: int) -> bool:
    """Whether a trial died, and another has its params."""
    return any(trial.user_attrs.get(AGAIN) == number for trial in study.get_trials(deepcopy=False))


def fail_dead_trials(store: Store, study: Study) -> list[int]:
    """Fail the trials whose driver is gone, and put them up to be tried again; returns their numbers."""
    with store.alone_in(study.study_name):
        living = store.living()
        running = study.get_trials(states=[TrialState.RUNNING])
        dead = [trial.number for trial in running if trial.user_attrs.get(DRIVER) not in living]
        for number in dead:
            try_again(study, number)
    return dead


def try_again(study: Study, number: int, is_stopped: bool = False) -> None:
    """Fail a trial that died or was stopped, and put its params up anew, unless they have died too often."""
    trials = study.get_trials(deepcopy=False)
    if trials[number].state.is_finished():
        return
    again = {trial.user_attrs.get(AGAIN) for trial in trials}
    deaths, ancestor = int(not is_stopped), trials[number]
    while AGAIN in ancestor.user_attrs:
        deaths += STOPPED not in ancestor.user_attrs
        ancestor = trials[ancestor.user_attrs[AGAIN]]
    if number not in again and deaths < MAX_DEATHS:  # it is, where a kill came between the next two lines
        values = trials[number].system_attrs.get("fixed_params", {}) | trials[number].params
        study.enqueue_trial(values, user_attrs={AGAIN: number} | ({STOPPED: True} if is_stopped else {}))
    study.tell(number, state=TrialState.FAIL)
