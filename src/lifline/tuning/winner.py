"""Studies that are there, and the trial of one that is to be the pipeline's params."""

import json
from datetime import datetime
from typing import Any

import optuna
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from lifline.errors import TuningError
from lifline.params import Params
from lifline.tuning.storage import Store
from lifline.tuning.study import DEFINITION, best_trials


def all_studies(store: Store) -> list[Study]:
    """Every study of lifline's that is kept there, the newest last."""
    names = optuna.get_all_study_names(store.optuna)
    studies = [optuna.load_study(study_name=name, storage=store.optuna) for name in names]
    return [study for study in studies if DEFINITION in study.user_attrs]


def find_study(store: Store, name: str | None) -> Study:
    """The study with this name, or the one that was last worked on.

    Raises:
        TuningError: there is none.
    """
    studies = {study.study_name: study for study in all_studies(store)}
    if not studies:
        raise TuningError("there is no study; `lifline tune` makes one")
    if name is None:
        return max(studies.values(), key=_last_start)
    if name not in studies:
        raise TuningError(f"study is {name!r}; allowed are {', '.join(studies)}")
    return studies[name]


def winner(study: Study, number: int | None, min_accuracy: float | None, max_cost: float | None) -> FrozenTrial:
    """The trial with this number; else the most accurate one within the limits, of these the cheapest.

    Only the number names one that lifline has not trained, as far as its marks tell.

    Raises:
        TuningError: no trial is, or, in a study with a cost, nothing says which of the front is wanted.
    """
    has_limits = min_accuracy is not None or max_cost is not None
    if has_limits and (number is not None or len(study.directions) == 1):
        raise TuningError("--min-accuracy and --max-cost choose from a front: a study with --cost, and without --trial")
    complete = study.get_trials(deepcopy=False, states=[TrialState.COMPLETE])
    if not complete:
        raise TuningError(f"study {study.study_name} has no complete trial yet")
    if number is not None:
        return _numbered(study, complete, number)
    best = best_trials(study)
    if not best:
        raise TuningError(
            f"no trial of study {study.study_name} has the mark that lifline trained it; --trial {_numbers(complete)} "
            "takes one all the same"
        )
    if len(study.directions) == 1:
        return best[0]
    if not has_limits:
        raise TuningError(
            f"study {study.study_name} has a front; choose by --trial {_numbers(best)}, by --min-accuracy or by "
            "--max-cost"
        )
    return _within(study, best, min_accuracy, max_cost)


def _numbered(study: Study, complete: list[FrozenTrial], number: int) -> FrozenTrial:
    chosen = [trial for trial in complete if trial.number == number]
    if not chosen:
        raise TuningError(
            f"trial is {number}; allowed of study {study.study_name} are {_numbers(complete)}, which are complete"
        )
    return chosen[0]


def _within(study: Study, front: list[FrozenTrial], min_accuracy: float | None, max_cost: float | None) -> FrozenTrial:
    within = [
        trial
        for trial in front
        if trial.values[0] >= (min_accuracy or 0) and (max_cost is None or trial.values[1] <= max_cost)
    ]
    if not within:
        raise TuningError(
            f"no trial of study {study.study_name} has an accuracy from {min_accuracy or 0} and a cost to {max_cost}"
        )
    if max_cost is None:
        return min(within, key=lambda trial: trial.values[1])
    return max(within, key=lambda trial: trial.values[0])


def differences(study: Study, params: Params) -> dict[str, tuple[Any, Any]]:
    """What the study does not vary and params.yaml has otherwise: the study's value and that of params.yaml."""
    definition = json.loads(study.user_attrs[DEFINITION])
    now = params.flat()
    return {
        name: (value, now.get(name))
        for name, value in definition["base"].items()
        if name not in definition["space"] and now.get(name) != value
    }


def epochs_of(study: Study) -> int:
    """For how many epochs its trials train."""
    return int(json.loads(study.user_attrs[DEFINITION])["epochs"])


def _last_start(study: Study) -> datetime:
    return max(
        (trial.datetime_start or datetime.min for trial in study.get_trials(deepcopy=False)), default=datetime.min
    )


def _numbers(trials: list[FrozenTrial]) -> str:
    return ", ".join(str(trial.number) for trial in trials)
