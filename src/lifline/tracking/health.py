"""What a run of MLflow tells of the health of its training."""

from collections import defaultdict
from contextlib import suppress
from typing import Any

from mlflow import MlflowClient

from lifline.errors import ParamsError, TrackingError
from lifline.params import Params
from lifline.params.document import parse_yaml
from lifline.tracking.comparison import ComparedRun, find_runs
from lifline.tracking.store import store
from lifline.tracking.tags import FAILURE_TAG
from lifline.training.diagnosis import Figures
from lifline.training.health import Health

PREFIX = "train/health/"
"""Behind test/accuracy in the alphabet: MLflow's comparison shows the first rows alone."""

TRAINING_FAILED = "TrainingError: "


def figures_of_run(name: str, params: Params) -> tuple[Figures, str | None]:
    """Return what rules ask for of the training of a run, and the hash of its data.

    Raises:
        TrackingError: there is no such run, it is of no training, or MLflow cannot be reached.
    """
    (run,) = find_runs([name])
    with store() as client:
        healths = _healths(client, run)
        failure = client.get_run(run.run_id).data.tags.get(FAILURE_TAG, "")
        if not healths and not failure.startswith(TRAINING_FAILED):
            raise TrackingError(f"run {run.name!r} has no figures of a training; allowed are runs of trainings")
        losses = client.get_metric_history(run.run_id, "train/iteration_loss")
        accuracies = client.get_metric_history(run.run_id, "validation/accuracy")
    its_params, iterations = _params_of(run, params), losses[-1].step if losses else 0
    figures = Figures(
        its_params,
        iterations=iterations,
        planned=iterations // max(1, len(healths)) * its_params.train.epochs,
        accuracy=run.metrics.get("validation/accuracy", 0.0),
        train_accuracy=run.metrics.get("train/accuracy", 0.0),
        best_accuracy=max((point.value for point in accuracies), default=0.0),
        healths=healths,
        failure=failure.removeprefix(TRAINING_FAILED) if failure.startswith(TRAINING_FAILED) else "",
    )
    return figures, run.data_sha256


def _healths(client: MlflowClient, run: ComparedRun) -> list[Health]:
    """After each epoch."""
    by_epoch: dict[int, dict[str, Any]] = defaultdict(lambda: defaultdict(dict))
    for metric in run.metrics:
        if metric.startswith(PREFIX):
            figure, _, layer = metric.removeprefix(PREFIX).partition("/")
            for point in client.get_metric_history(run.run_id, metric):
                if layer:
                    by_epoch[point.step][figure][layer] = point.value
                else:
                    by_epoch[point.step][figure] = point.value
    return [Health(**by_epoch[epoch]) for epoch in sorted(by_epoch)]


def _params_of(run: ComparedRun, others: Params) -> Params:
    """The params of a run, which MLflow keeps as text; those that it does not have are others'."""
    known = others.flat()
    values = {}
    for name, text in run.params.items():
        with suppress(ParamsError):
            if name in known:
                values[name] = parse_yaml(text.encode())
    return others.with_values(values)
