"""A study's life: what it is, which trial is next, and which are its best."""

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

Cost = Literal["synaptic_operations", "num_steps", "energy"]
DEFINITION = "definition"
OF_THE_DATA = ("data.dataset", "data.test_share")
"""Params of which the data set itself is the outcome."""

DRIVER = "driver"
TRAINED = "trained_by_lifline"
"""Of a trial that lifline trained to its end; the values of others are what another program told the study."""

FIRST_MARKED = "first_marked"
"""Of a study: the number from which on its trials have that mark; above 0 where the study is older than the mark."""

RETRY_OF = "retry_of"
"""The number of the trial that died or was stopped, whose params a trial has."""

FORMER_RETRY_OF = "again"
"""The same, in studies that were made before it had its name."""

STOPPED = "stopped"
"""Of a trial that is tried again: the one before was stopped, and is not to blame."""

REPEATS = "repeats_trial"
"""Of a trial: the number of the one whose outcome it has, since its params are the same."""

STARTUP_TRIALS = 5
MAX_DEATHS = 3
"""As often as a trial's process may die with it, by which the trial may be to blame."""


def open_study(store: Store, params: Params, data_sha256: str, cost: Cost | None, name: str | None) -> Study:
    """The study of these params on a data set, made where there is none; its first trial is the params as they are.

    Raises:
        ParamsError: the space is not allowed.
        TuningError: the study with this name is another's.
    """
    space = read_space(params)
    base = {name: value for name, value in params.flat().items() if name not in OF_THE_DATA}
    parts = {"space": params.tune.space, "epochs": params.tune.epochs, "cost": cost, "base": base}
    definition = json.dumps(parts | {"data": data_sha256}, sort_keys=True)
    objective = "accuracy" if cost is None else f"accuracy-{cost}"
    if name is not None and not re.fullmatch(r"[\w.-]+", name, re.ASCII):
        raise TuningError(f"study is {name!r}; allowed are letters, digits, and the signs _ . -")
    name = name or f"{objective}-{hashlib.sha256(definition.encode()).hexdigest()[:8]}"
    directions = [StudyDirection.MAXIMIZE] + [StudyDirection.MINIMIZE] * (cost is not None)
    if cost == "num_steps" and "network.num_steps" not in space:
        raise ParamsError(
            "the cost is num_steps, but tune.space has no network.num_steps; every trial would cost the same"
        )
    with store.exclusive(name):
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
        if FIRST_MARKED not in study.user_attrs:
            is_new = DEFINITION not in study.user_attrs
            study.set_user_attr(FIRST_MARKED, 0 if is_new else _first_marked(study))
        if DEFINITION not in study.user_attrs:
            _name_objectives(study, cost)
            study.set_user_attr(DEFINITION, definition)
    if study.user_attrs[DEFINITION] != definition:
        raise TuningError(f"study {name} has another space, objective, data or other base params; give another --study")
    return study


def _check_is_ours(study: Study, directions: list[StudyDirection]) -> None:
    begun = any(trial.state != TrialState.WAITING for trial in study.get_trials(deepcopy=False))
    if DEFINITION not in study.user_attrs and (begun or study.directions != directions):
        raise TuningError(f"study {study.study_name} is not lifline's; give another --study")


def _name_objectives(study: Study, cost: Cost | None) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        study.set_metric_names(["validation accuracy", *([cost] if cost else [])])


def is_full(study: Study, num_trials: int) -> bool:
    """Whether so many trials are done or being done."""
    return len(counted(study.get_trials(deepcopy=False))) >= num_trials


def next_trial(study: Study, params: Params, num_trials: int, driver: str) -> Trial | None:
    """The next trial, as long as fewer than `num_trials` are done or being done. The caller keeps other drivers out.

    The sampler's seed is of how many there are, so that a study that was stopped goes on as if it had not been.
    """
    num_counted = len(counted(study.get_trials(deepcopy=False)))
    if num_counted >= num_trials:
        return None
    study.sampler = optuna.samplers.TPESampler(seed=(params.train.seed + num_counted) % 2**32)
    trial = study.ask(read_space(params))
    trial.set_user_attr(DRIVER, driver)
    return trial


def counted(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """The trials that take a place in the budget: one that died does not, since it is tried again."""
    retried = _retried(trials)
    return [trial for trial in trials if trial.state != TrialState.WAITING and trial.number not in retried]


def is_retried(study: Study, number: int) -> bool:
    """Whether a trial died or was stopped, and another has its params."""
    return number in _retried(study.get_trials(deepcopy=False))


def fail_dead_trials(store: Store, study: Study) -> list[int]:
    """Fail the trials whose driver is gone, and put them up to be tried again; returns their numbers.

    The caller keeps other drivers out.
    """
    alive = store.live_drivers()
    running = study.get_trials(states=[TrialState.RUNNING])
    dead = [trial.number for trial in running if trial.user_attrs.get(DRIVER) not in alive]
    for number in dead:
        retry(study, number)
    return dead


def retry(study: Study, number: int, is_stopped: bool = False) -> None:
    """Fail a trial that died or was stopped, and put its params up anew, unless they have died too often."""
    trials = study.get_trials(deepcopy=False)
    trial = trials[number]
    if trial.state.is_finished():
        return
    is_put_up = number in _retried(trials)  # a kill came between the next two lines
    if not is_put_up and _num_deaths(trials, trial) + (not is_stopped) < MAX_DEATHS:
        values = trial.system_attrs.get("fixed_params", {}) | trial.params
        study.enqueue_trial(values, user_attrs={RETRY_OF: number} | ({STOPPED: True} if is_stopped else {}))
    study.tell(number, state=TrialState.FAIL)


def retry_of(trial: FrozenTrial) -> int | None:
    """The number of the trial whose params this one tries again."""
    number = trial.user_attrs.get(RETRY_OF, trial.user_attrs.get(FORMER_RETRY_OF))
    return number if isinstance(number, int) and 0 <= number < trial.number else None


def _retried(trials: Sequence[FrozenTrial]) -> set[int | None]:
    return {retry_of(trial) for trial in trials}


def _num_deaths(trials: Sequence[FrozenTrial], trial: FrozenTrial) -> int:
    """How often the process died with these params before this trial."""
    num_deaths = 0
    while (number := retry_of(trial)) is not None:
        num_deaths += STOPPED not in trial.user_attrs
        trial = trials[number]
    return num_deaths


def complete_trials(study: Study, trained: bool) -> list[FrozenTrial]:
    """The complete trials that lifline trained to their end, as far as marks tell, or the others."""
    first_marked = _first_marked(study)
    complete = study.get_trials(deepcopy=False, states=[TrialState.COMPLETE])
    return [trial for trial in complete if _is_trained(trial, first_marked) == trained]


def _is_trained(trial: FrozenTrial, first_marked: int) -> bool:
    return trial.user_attrs.get(TRAINED) is True or (trial.number < first_marked and DRIVER in trial.user_attrs)


def _first_marked(study: Study) -> int:
    """The number from which on trials have the mark; of a study without it, that of the first one begun since."""
    if isinstance(number := study.user_attrs.get(FIRST_MARKED), int):
        return number
    trials = study.get_trials(deepcopy=False)
    since = (trial.number for trial in trials if TRAINED in trial.user_attrs or trial.state == TrialState.WAITING)
    return next(since, len(trials))


def best_trials(study: Study) -> list[FrozenTrial]:
    """Of the trials that lifline trained: the most accurate one, or the front where there is a cost; none twice."""
    trials = [trial for trial in complete_trials(study, trained=True) if REPEATS not in trial.user_attrs]
    if len(study.directions) == 1:
        return sorted(trials, key=lambda trial: trial.values[0], reverse=True)[:1]
    return [trial for trial in trials if not any(_dominates(other, trial) for other in trials)]


def _dominates(one: FrozenTrial, other: FrozenTrial) -> bool:
    """Whether a trial is at least as accurate and as cheap as another, and not both the same."""
    (accuracy, cost), (other_accuracy, other_cost) = one.values, other.values
    return bool(accuracy >= other_accuracy and cost <= other_cost and one.values != other.values)
