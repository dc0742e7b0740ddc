"""Training: backpropagation through time with a surrogate gradient."""

import math
import time
from collections.abc import Callable, Iterator
from statistics import fmean
from typing import NamedTuple

import torch
from torch import Tensor
from torch.optim.adam import adam

from lifline.data.batches import shuffled_batches
from lifline.data.mnist import LabelledImages
from lifline.errors import TrainingError
from lifline.evaluation import validate
from lifline.params import Decoding, TrainParams
from lifline.snn.decoding import decode
from lifline.snn.loss import SUMMED_OVER_STEPS, make_loss
from lifline.snn.network import SpikingNetwork

ITERATIONS_PER_CHECK = 100
"""Reading a loss waits for the device."""


class Adam:
    """Adam with betas 0.9 and 0.999, by PyTorch's function for it.

    To construct its class `torch.optim.Adam` takes a second, in which PyTorch imports its compiler.
    """

    def __init__(self, network: SpikingNetwork, learning_rate: float) -> None:
        self.parameters: list[Tensor] = [parameter for parameter in network.parameters() if parameter.requires_grad]
        self.learning_rate = learning_rate
        self.averages = [torch.zeros_like(parameter) for parameter in self.parameters]
        self.averages_of_squares = [torch.zeros_like(parameter) for parameter in self.parameters]
        self.steps = [torch.zeros((), device=parameter.device) for parameter in self.parameters]

    @torch.no_grad()
    def step(self) -> None:
        """Update the parameters in place by their gradients."""
        gradients = [parameter.grad for parameter in self.parameters if parameter.grad is not None]
        adam(
            self.parameters, gradients, self.averages, self.averages_of_squares, [], self.steps,
            fused=True, amsgrad=False, maximize=False, beta1=0.9, beta2=0.999, lr=self.learning_rate,
            weight_decay=0.0, eps=1e-8,
        )  # fmt: skip


class Step(NamedTuple):
    """One optimizer step; its figures are still on the device."""

    iteration: int
    """Counted from 1 over all epochs."""

    loss: Tensor
    """Mean over the batch, 0-d."""

    num_correct: Tensor
    """Images of the batch that were decided right, 0-d."""

    num_images: int


class EpochReport(NamedTuple):
    """What one pass over the training images did."""

    epoch: int
    """Counted from 1."""

    iteration: int
    """Optimizer steps so far, over all epochs."""

    losses: list[float]
    """The training loss at each iteration of the epoch."""

    train_accuracy: float
    """Share of the training images that were right when they were shown."""

    validation_loss: float
    validation_accuracy: float
    images_per_second: float
    """Training images over `seconds`."""

    seconds: float
    """Time in training, without validation."""

    steps_per_loss: int
    """Simulation steps over which a loss is summed: `num_steps` or 1."""

    def as_metrics(self) -> dict[str, dict[str, float]]:
        """The figures that do not depend on the clock, by part of the data."""
        return {
            "train": self._losses(fmean(self.losses)) | {"accuracy": self.train_accuracy},
            "validation": self._losses(self.validation_loss) | {"accuracy": self.validation_accuracy},
        }

    def _losses(self, loss: float) -> dict[str, float]:
        """Losses at different numbers of steps compare only per step."""
        return {"loss": loss, "loss_per_step": loss / self.steps_per_loss}


def fit(
    network: SpikingNetwork,
    training: LabelledImages,
    validation: LabelledImages,
    params: TrainParams,
    decoding: Decoding,
    on_step: Callable[[Step], None] = lambda step: None,
) -> Iterator[EpochReport]:
    """Train a network in place, epoch by epoch; the caller iterates, and may stop after any epoch.

    Args:
        network: on the same device as the images.
        training: images to learn from, shuffled anew each epoch by `params.seed`.
        validation: images that are only looked at.
        params: how to learn.
        decoding: decides what counts as right.
        on_step: told of each optimizer step; reading its figures waits for the device.

    Raises:
        TrainingError: the training or validation loss is no longer finite.
    """
    loss = make_loss(params)
    optimizer = Adam(network, params.learning_rate)
    generator = torch.Generator().manual_seed(params.seed)
    iteration = 0
    for epoch in range(1, params.epochs + 1):
        started = time.perf_counter()
        steps: list[Step] = []
        for images, labels in shuffled_batches(training, params.batch_size, generator):
            iteration += 1
            with torch.autocast(images.device.type, torch.bfloat16, enabled=params.precision == "bf16"):
                record = network(images)
            batch_loss = loss(record, labels)
            network.zero_grad()
            batch_loss.backward()
            optimizer.step()
            num_correct = (decode(record, decoding) == labels).sum()
            steps.append(Step(iteration, batch_loss.detach(), num_correct, len(labels)))
            if iteration % ITERATIONS_PER_CHECK == 0:
                _check_finite(steps[-ITERATIONS_PER_CHECK:], params)
            on_step(steps[-1])
        _check_finite(steps, params)
        seconds = time.perf_counter() - started
        validated = validate(network, validation, loss, decoding)
        if not math.isfinite(validated.loss):
            raise _not_finite(f"validation loss is {validated.loss} after epoch {epoch}", params)
        yield EpochReport(
            epoch=epoch,
            iteration=iteration,
            losses=torch.stack([step.loss for step in steps]).tolist(),
            train_accuracy=torch.stack([step.num_correct for step in steps]).sum().item() / len(training.labels),
            validation_loss=validated.loss,
            validation_accuracy=validated.accuracy,
            images_per_second=len(training.labels) / seconds,
            seconds=seconds,
            steps_per_loss=network.num_steps if params.loss in SUMMED_OVER_STEPS else 1,
        )


def _check_finite(steps: list[Step], params: TrainParams) -> None:
    finite = torch.stack([step.loss for step in steps]).isfinite().tolist()
    if not all(finite):
        step = steps[finite.index(False)]
        raise _not_finite(f"training loss is {step.loss.item()} at iteration {step.iteration}", params)


def _not_finite(what: str, params: TrainParams) -> TrainingError:
    return TrainingError(
        f"the {what}, allowed is a finite number; try a smaller train.learning_rate than {params.learning_rate}"
    )
