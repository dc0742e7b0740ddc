"""What a worker does for a trial; it knows neither the study nor MLflow."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch

from lifline.data.images import LabelledImages
from lifline.data.info import DatasetInfo
from lifline.evaluation.evaluate import evaluate
from lifline.models.model import Model
from lifline.params import Params
from lifline.training.fit import fit, new_training
from lifline.training.report import EpochReport


class Data(NamedTuple):
    """What a trial learns from and is scored on; the test set is not among it."""

    info: DatasetInfo
    training: LabelledImages
    validation: LabelledImages

    def to(self, device: torch.device) -> "Data":
        """The same on a device."""
        return Data(self.info, self.training.to(device), self.validation.to(device))


class Score(NamedTuple):
    """What a trained network is worth, on the validation images."""

    accuracy: float
    """0 to 1."""

    costs: dict[str, float]
    """Of an image, by name."""

    metrics: dict[str, Any]
    """What else is known, nested."""


def train_trial(params: Params, data: Data) -> Iterator[EpochReport | Score]:
    """Train as the pipeline does; yields the report of each epoch, and in the end the score.

    Raises:
        TrainingError: the loss is no longer finite.
    """
    state = new_training(params, data.info, data.training.images.device)
    yield from fit(state, data.training, data.validation, params)
    model = Model(state.network, params.network, data.info)
    metrics = evaluate(model, data.validation).as_metrics().model_dump()
    accuracy = metrics.pop("accuracy")
    costs = {
        "synaptic_operations": metrics["synaptic_operations_per_image"],
        "num_steps": params.network.num_steps,
        "energy": metrics["energy_with_memory_nanojoules_per_image"],
    }
    yield Score(accuracy, costs, metrics)
