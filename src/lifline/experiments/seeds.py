"""One recipe trained with many seeds: how good it is, and how much of a single result is luck."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from statistics import fmean, median, stdev
from typing import Any, NamedTuple

import torch

from lifline.data.datasets import Dataset
from lifline.data.images import split_training_images
from lifline.data.inspection import DataFigures, inspect_dataset
from lifline.device import choose_device, describe_device
from lifline.download.obtain import load_obtained
from lifline.errors import TrainingError
from lifline.evaluation.evaluate import DECISION_COLUMNS, evaluate
from lifline.experiments.checkpoint import checkpoint_of, forget_checkpoint
from lifline.experiments.fingerprint import fingerprint
from lifline.experiments.training import train_tracked
from lifline.models.model import Model, model_bytes
from lifline.params import Params
from lifline.paths import GATE, PREDICTIONS, repository_root
from lifline.system.files import sha256_of_bytes
from lifline.system.locks import LockHeldError, locked
from lifline.tracking import runs as tracking
from lifline.tracking.run import Run


class SeedResult(NamedTuple):
    """Accuracies of the network that a seed gave, 0 to 1."""

    seed: int
    validation_accuracy: float
    test_accuracy: float


def train_seeds(params: Params, count: int, on_start: Callable[[int, int], None]) -> Iterator[SeedResult]:
    """Train and evaluate with `count` seeds, from `train.seed` on; those that are done already are not done again.

    Args:
        params: the recipe.
        count: how many.
        on_start: told of each seed before it is trained, and which it is, counted from 1.

    Raises:
        LiflineError: as the stages train and evaluate.
    """
    first = params.train.seed
    seeded = [params.with_values({"train.seed": seed}) for seed in range(first, first + count)]
    device = choose_device(params.train.device)
    dataset = load_obtained(params)
    recipe = fingerprint(params.with_values({"train.seed": 0}), dataset.sha256, device)
    with _exclusive(recipe), tracking.seeds_run(params, recipe) as parent:
        parent.log_dataset(dataset, "train")
        done, results, data_figures = tracking.metrics_by_seed(parent), [], inspect_dataset(dataset)
        for number, each in enumerate(seeded, 1):
            seed = each.train.seed
            if seed in done:
                forget_checkpoint(each, dataset.sha256, device)
                result = SeedResult(seed, done[seed]["validation/accuracy"], done[seed]["test/accuracy"])
            else:
                on_start(seed, number)
                result = _train_and_evaluate(parent, each, dataset, data_figures, device)
            results.append(result)
            yield result
        parent.log_metrics(_as_metrics(summarize(results)) | {"num_seeds": count})


def summarize(results: Sequence[SeedResult]) -> dict[str, dict[str, float]]:
    """Mean, sample standard deviation, median, least and greatest of the accuracies, for each set of images.

    One seed has no deviation.
    """
    accuracies = {
        "validation_accuracy": [result.validation_accuracy for result in results],
        "test_accuracy": [result.test_accuracy for result in results],
    }
    return {
        name: {
            "mean": fmean(values),
            **({"standard_deviation": stdev(values)} if len(values) > 1 else {}),
            "median": median(values),
            "min": min(values),
            "max": max(values),
        }
        for name, values in accuracies.items()
    }


def _as_metrics(summary: dict[str, dict[str, float]]) -> dict[str, Any]:
    """Beside the trainings' own: `test/accuracy_median` and so on."""
    return {
        name.removesuffix("_accuracy"): {f"accuracy_{figure}": value for figure, value in figures.items()}
        for name, figures in summary.items()
    }


@contextmanager
def _exclusive(recipe: str) -> Iterator[None]:
    lock = repository_root() / ".checkpoints" / f"seeds-{recipe[:16]}.lock"
    try:
        with locked(lock, wait=False):
            try:
                yield
            finally:
                lock.unlink()
    except LockHeldError:
        raise TrainingError(f"{lock} is held: another process trains these seeds; let it end, or stop it") from None


def _train_and_evaluate(
    parent: Run, params: Params, dataset: Dataset, data_figures: DataFigures, device: torch.device
) -> SeedResult:
    with (
        checkpoint_of(params, dataset.sha256, device) as checkpoint,
        tracking.seed_run(parent, params, describe_device(device)) as run,
    ):
        state = train_tracked(params, dataset, data_figures, device, checkpoint, run)
        run.log_dataset(dataset, "test")
        model = Model(state.network, params.network, dataset.info)
        evaluation = evaluate(model, dataset.test.to(device))
        metrics = evaluation.as_metrics()
        run.log_metrics({"test": metrics.model_dump()})
        run.log_table(PREDICTIONS.name, DECISION_COLUMNS, evaluation.class_pairs())
        if params.data.gate_size:
            gate = split_training_images(dataset.train, params.data).gate
            run.log_table(GATE.name, DECISION_COLUMNS, evaluate(model, gate.to(device)).class_pairs())
        run.tag_model(sha256_of_bytes(model_bytes(model)))
    return SeedResult(params.train.seed, state.reports[-1].validation_accuracy, metrics.accuracy)
