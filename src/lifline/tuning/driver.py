"""Runs a study's trials, one after the other, in this process."""

import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState

from lifline import tracking
from lifline.data.batches import split_off_validation
from lifline.data.mnist import LabelledImages, load_mnist
from lifline.device import choose_device
from lifline.epoch_report import EpochReport
from lifline.errors import TrainingError, is_out_of_memory
from lifline.evaluation import evaluate
from lifline.files import MNIST
from lifline.model_file import new_network
from lifline.params import Params
from lifline.signals import signals_held_off
from lifline.training import TrainingState, fit
from lifline.tuning.pictures import draw_study
from lifline.tuning.space import as_params
from lifline.tuning.study import Cost, driving, fail_dead_trials, next_trial, open_storage, open_study, try_again

OnEpoch = Callable[[int, EpochReport], None]


class Data(NamedTuple):
    """What a trial learns from and is scored on; the test set is not among it."""

    training: LabelledImages
    validation: LabelledImages


def tune(
    params: Params,
    num_trials: int,
    timeout: float | None = None,
    cost: Cost | None = None,
    name: str | None = None,
    on_epoch: OnEpoch = lambda number, report: None,
) -> Iterator[tuple[Study, FrozenTrial]]:
    """Run a study until it has `num_trials`, those of earlier calls included; yields each trial as it ends.

    Args:
        params: with the space in `tune.space`; what is not in the space stays as it is.
        num_trials: of the whole study.
        timeout: seconds after which no trial is begun.
        cost: what to trade accuracy for, or None.
        name: of the study; by default a hash of what it is.
        on_epoch: told of each epoch of a trial, by number.

    Raises:
        LiflineError: the space, the study or its storage cannot be used, or MLflow.
    """
    ends = time.monotonic() + timeout if timeout is not None else None
    device = choose_device(params.train.device)
    parts = split_off_validation(load_mnist(MNIST, "train"), params.data.validation_size)
    data = Data(*(part.to(device) for part in parts))
    study = open_study(open_storage(), params, cost, name)
    with driving() as driver, tracking.study_run(params, study.study_name):
        fail_dead_trials(study)
        while (ends is None or time.monotonic() < ends) and (trial := next_trial(study, params, num_trials, driver)):
            yield study, _run(study, trial, params, data, cost, on_epoch)
        tracking.log_figures(draw_study(study))


class Ending(NamedTuple):
    """How a trial ended, for Optuna and for MLflow."""

    state: TrialState
    status: str
    values: list[float] | None = None
    reason: str = ""


def _run(study: Study, trial: Trial, params: Params, data: Data, cost: Cost | None, on_epoch: OnEpoch) -> FrozenTrial:
    run_id = None
    try:
        varied = params.with_values({"train.epochs": params.tune.epochs} | as_params(trial.params, params))
        run_id = tracking.start_trial_run(varied, trial.number)
        ending = _train(trial, varied, data, cost, run_id, on_epoch)
    except (KeyboardInterrupt, *tracking.STORE_ERRORS) as error:  # not of the trial's making
        with signals_held_off():
            try_again(study, trial.number)
            if run_id is not None:
                tracking.end_trial_run(run_id, "FAILED", type(error).__name__)
        raise
    except Exception as error:
        ending = Ending(TrialState.FAIL, "FAILED", reason=f"{type(error).__name__}: {error}")
        if not (isinstance(error, TrainingError) or is_out_of_memory(error)):
            _end(study, trial, run_id, ending)
            raise
    return _end(study, trial, run_id, ending)


def _train(trial: Trial, params: Params, data: Data, cost: Cost | None, run_id: str, on_epoch: OnEpoch) -> Ending:
    device, seed = data.training.images.device, params.train.seed
    state = TrainingState(new_network(params.network, seed).to(device), seed)
    for report in fit(state, *data, params):
        tracking.log_trial_epoch(run_id, report)
        on_epoch(trial.number, report)
        if cost is None:
            trial.report(report.validation_accuracy, report.epoch)
            if report.epoch < params.train.epochs and trial.should_prune():
                return Ending(TrialState.PRUNED, "KILLED", reason=f"pruned after epoch {report.epoch}")
    metrics = evaluate(state.network, data.validation, params.network.decoding).as_metrics()
    costs = {"synaptic_operations": metrics["synaptic_operations_per_image"], "num_steps": params.network.num_steps}
    tracking.log_trial_costs(run_id, costs)
    return Ending(TrialState.COMPLETE, "FINISHED", [report.validation_accuracy, *([costs[cost]] if cost else [])])


def _end(study: Study, trial: Trial, run_id: str | None, ending: Ending) -> FrozenTrial:
    with signals_held_off():
        ended = study.tell(trial, ending.values, ending.state)
        if run_id is not None:
            tracking.end_trial_run(run_id, ending.status, ending.reason)
    return ended
