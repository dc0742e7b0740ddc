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
from lifline.errors import TrainingError
from lifline.evaluation import evaluate
from lifline.files import MNIST
from lifline.model_file import new_network
from lifline.params import Params
from lifline.training import TrainingState, fit
from lifline.tuning.pictures import draw_study
from lifline.tuning.space import as_params
from lifline.tuning.study import RUN, Cost, driving, fail_dead_trials, next_trial, open_storage, open_study, try_again


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
    on_epoch: Callable[[int, EpochReport], None] = lambda number, report: None,
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
    study = open_study(open_storage(), params, cost, name)
    parts = split_off_validation(load_mnist(MNIST, "train"), params.data.validation_size)
    data = Data(*(part.to(device) for part in parts))
    with driving() as driver, tracking.study_run(params, study.study_name):
        for run_id in fail_dead_trials(study):
            tracking.end_trial_run(run_id, "FAILED", "its process died")
        while (ends is None or time.monotonic() < ends) and (trial := next_trial(study, params, num_trials, driver)):
            yield study, _run(study, trial, params, data, cost, on_epoch)
        tracking.log_figures(draw_study(study))


def _run(
    study: Study,
    trial: Trial,
    params: Params,
    data: Data,
    cost: Cost | None,
    on_epoch: Callable[[int, EpochReport], None],
) -> FrozenTrial:
    varied = params.with_values({"train.epochs": params.tune.epochs} | as_params(trial.params, params))
    run_id = tracking.start_trial_run(varied, trial.number)
    trial.set_user_attr(RUN, run_id)
    state = TrainingState(
        new_network(varied.network, varied.train.seed).to(data.training.images.device), varied.train.seed
    )
    try:
        for report in fit(state, *data, varied):
            tracking.log_trial_epoch(run_id, report)
            on_epoch(trial.number, report)
            if cost is None:
                trial.report(report.validation_accuracy, report.epoch)
                if report.epoch < varied.train.epochs and trial.should_prune():
                    tracking.end_trial_run(run_id, "KILLED", f"pruned after epoch {report.epoch}")
                    return study.tell(trial, state=TrialState.PRUNED)
    except TrainingError as error:
        trial.set_user_attr("failure", str(error))
        tracking.end_trial_run(run_id, "FAILED", str(error))
        return study.tell(trial, state=TrialState.FAIL)
    except BaseException:
        tracking.end_trial_run(run_id, "FAILED", "interrupted")
        try_again(study, trial)
        raise
    metrics = evaluate(state.network, data.validation, varied.network.decoding).as_metrics()
    costs = {"synaptic_operations": metrics["synaptic_operations_per_image"], "num_steps": varied.network.num_steps}
    tracking.log_trial_costs(run_id, costs)
    tracking.end_trial_run(run_id, "FINISHED")
    values = [state.reports[-1].validation_accuracy, *([costs[cost]] if cost else [])]
    return study.tell(trial, values)
