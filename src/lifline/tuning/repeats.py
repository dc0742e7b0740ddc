"""Params that a study has tried already: a training is deterministic, so that the same one again tells nothing."""

import math
from collections.abc import Sequence

from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState

from lifline.tuning.study import REPEATS, complete_trials

TRIED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING)


def twin_of(study: Study, trial: Trial) -> FrozenTrial | None:
    """The trial with the same params that lifline trained to its end, or else pruned, or else is at; None without such.

    What failed is worth another try.
    """
    pruned, running = (
        study.get_trials(deepcopy=False, states=[state]) for state in (TrialState.PRUNED, TrialState.RUNNING)
    )
    begun_before = [each for each in running if each.number < trial.number]
    known = [*complete_trials(study, trained=True), *pruned, *begun_before]
    return next((each for each in known if each.params == trial.params and REPEATS not in each.user_attrs), None)


def num_combinations(study: Study) -> int | None:
    """How many combinations of params the study's space has; None where it is not finite, or no trial has begun."""
    spaces = [trial.distributions for trial in study.get_trials(deepcopy=False) if trial.distributions]
    if not spaces:
        return None
    nums = [_num_values(distribution) for distribution in max(spaces, key=len).values()]
    finite = [num for num in nums if num is not None]
    return math.prod(finite) if len(finite) == len(nums) else None


def is_used_up(study: Study) -> bool:
    """Whether each combination has been tried, or is being tried; what failed has not."""
    wanted = num_combinations(study)
    return wanted is not None and _num_tried(study.get_trials(deepcopy=False, states=TRIED)) >= wanted


def _num_tried(trials: Sequence[FrozenTrial]) -> int:
    num_params = max((len(trial.params) for trial in trials), default=0)
    return len({frozenset(trial.params.items()) for trial in trials if len(trial.params) == num_params})


def _num_values(distribution: BaseDistribution) -> int | None:
    if isinstance(distribution, CategoricalDistribution):
        return len(set(distribution.choices))
    if isinstance(distribution, IntDistribution):
        return distribution.high - distribution.low + 1
    return 1 if distribution.single() else None
