"""Training: backpropagation through time with a surrogate gradient."""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from lifline.data.augmentation import augment
from lifline.data.batches import shuffled_batches
from lifline.data.images import LabelledImages
from lifline.data.info import DatasetInfo
from lifline.errors import TrainingError
from lifline.models.model import new_network
from lifline.params import Params, TrainParams
from lifline.snn.decoding import decode
from lifline.snn.loss import SUMMED_OVER_STEPS, Loss
from lifline.snn.network import Record, SpikingNetwork
from lifline.training.centring import Centring
from lifline.training.health import measure_health, not_finite, weights_of
from lifline.training.objective import make_loss
from lifline.training.optimizer import Adam, learning_rate_at
from lifline.training.report import EpochReport
from lifline.training.validation import validate

ITERATIONS_PER_CHECK = 100
"""Reading a loss waits for the device."""


class Step(NamedTuple):
    """One optimizer step; its figures are still on the device."""

    iteration: int
    """Counted from 1 over all epochs."""

    loss: Tensor
    """Mean over the batch, 0-d."""

    num_correct: Tensor
    """Images of the batch that were decided right, 0-d."""

    num_images: int


class TrainingState:
    """A training between two epochs: all that decides how it goes on."""

    def __init__(self, network: SpikingNetwork, seed: int) -> None:
        self.network = network
        self.optimizer = Adam(network)
        self.generator = torch.Generator().manual_seed(seed)
        self.reports: list[EpochReport] = []

    def tensors(self) -> dict[str, Tensor]:
        """All but the reports, under names; but for the generator's, they are the state itself, not copies."""
        optimizer = self.optimizer
        lists = {
            "network": self.network.state_dict().values(),
            "adam.averages": optimizer.averages,
            "adam.averages_of_squares": optimizer.averages_of_squares,
            "adam.steps": optimizer.steps,
        }
        tensors = {f"{name}.{i}": tensor for name, tensors in lists.items() for i, tensor in enumerate(tensors)}
        return tensors | {"generator": self.generator.get_state()}

    def restore(self, tensors: Mapping[str, Tensor], reports: list[EpochReport]) -> None:
        """Go back to where `tensors` and `reports` were taken."""
        for name, tensor in self.tensors().items():
            tensor.copy_(tensors[name])
        self.generator.set_state(tensors["generator"])
        self.reports = reports


def new_training(params: Params, dataset: DatasetInfo, device: torch.device) -> TrainingState:
    """Begin a training on the images of a data set: the seed decides all that is drawn."""
    seed = params.train.seed
    return TrainingState(new_network(params.network, dataset, seed).to(device), seed)


def fit(
    state: TrainingState,
    training: LabelledImages,
    validation: LabelledImages,
    params: Params,
    on_step: Callable[[Step], None] = lambda step: None,
) -> Iterator[EpochReport]:
    """Train a network, epoch by epoch; the caller iterates, and may stop after any epoch, or go on from it.

    Args:
        state: moved on in place; its network is on the same device as the images, and as it was drawn where no epoch
            has been.
        training: images to learn from, shuffled, augmented and rate-coded anew each epoch by the state's generator.
        validation: images that are only looked at.
        params: how to learn, and what counts as right.
        on_step: told of each optimizer step; reading its figures waits for the device.

    Raises:
        TrainingError: a loss, a gradient or a weight is no longer finite.
    """
    loss = make_loss(params.train)
    decoding = params.network.decoding
    centring = Centring(state.network, training.images) if params.train.centre_inputs else None
    if centring and not state.reports:
        centring.start()
    for epoch in range(len(state.reports) + 1, params.train.epochs + 1):
        before = weights_of(state.network)
        started = time.perf_counter()
        steps = _epoch(state, training, params, loss, centring, on_step)
        seconds = time.perf_counter() - started
        validated = validate(state.network, validation, loss, decoding)
        if not math.isfinite(validated.loss):
            raise _not_finite(f"validation loss is {validated.loss} after epoch {epoch}", params.train)
        health = measure_health(state.network, validated.firing, before, len(steps), validation.images)
        if wrong := not_finite(health):
            raise _not_finite(f"{wrong} after epoch {epoch}", params.train)
        report = EpochReport(
            epoch=epoch,
            iteration=steps[-1].iteration,
            losses=torch.stack([step.loss for step in steps]).tolist(),
            train_accuracy=torch.stack([step.num_correct for step in steps]).sum().item() / len(training.labels),
            validation_loss=validated.loss,
            validation_accuracy=validated.accuracy,
            images_per_second=len(training.labels) / seconds,
            seconds=seconds,
            steps_per_loss=state.network.num_steps if params.train.loss in SUMMED_OVER_STEPS else 1,
            betas=state.network.learned_betas(),
            health=health,
        )
        state.reports.append(report)
        yield report


def _epoch(
    state: TrainingState,
    training: LabelledImages,
    params: Params,
    loss: Loss,
    centring: Centring | None,
    on_step: Callable[[Step], None],
) -> list[Step]:
    """Take the optimizer steps of an epoch."""
    train = params.train
    iterations = iterations_per_epoch(training, train)
    before = len(state.reports) * iterations
    steps: list[Step] = []
    batches = shuffled_batches(training, train.batch_size, state.generator)
    for iteration, (images, labels) in enumerate(batches, start=before + 1):
        distorted = augment(images, params.augmentation, state.generator)
        with torch.autocast(images.device.type, torch.bfloat16, enabled=train.precision == "bf16"):
            record = _answer(state, distorted, steps, train)
        batch_loss = loss(record, labels)
        state.network.zero_grad()
        batch_loss.backward()
        state.optimizer.step(learning_rate_at(iteration / iterations, train), centring)
        num_correct = (decode(record, params.network.decoding) == labels).sum()
        steps.append(Step(iteration, batch_loss.detach(), num_correct, len(labels)))
        if len(steps) % ITERATIONS_PER_CHECK == 0:
            _check_finite(steps[-ITERATIONS_PER_CHECK:], train)
        on_step(steps[-1])
    _check_finite(steps, train)
    _check_betas(state, steps, train)
    return steps


def _answer(state: TrainingState, images: Tensor, steps: list[Step], params: TrainParams) -> Record:
    """Show the network a batch; that it can no more is told by what was not finite before."""
    try:
        return state.network(images, generator=_generator_of_coding(state, images.device))  # type: ignore[no-any-return]
    except ValueError:
        if steps:
            _check_finite(steps, params)
        _check_betas(state, steps, params)
        raise


def _generator_of_coding(state: TrainingState, device: torch.device) -> torch.Generator | None:
    """Return what rate coding draws a batch's spikes from; None where the network codes without, and draws no seed."""
    if state.network.coding != "rate":
        return None
    seed = torch.randint(2**63 - 1, (), generator=state.generator).item()
    return torch.Generator(device).manual_seed(int(seed))


def iterations_per_epoch(training: LabelledImages, params: TrainParams) -> int:
    """Optimizer steps in a pass over the training images."""
    return math.ceil(len(training.labels) / params.batch_size)


def _check_finite(steps: list[Step], params: TrainParams) -> None:
    finite = torch.stack([step.loss for step in steps]).isfinite().tolist()
    if not all(finite):
        step = steps[finite.index(False)]
        raise _not_finite(f"training loss is {step.loss.item()} at iteration {step.iteration}", params)


def _check_betas(state: TrainingState, steps: list[Step], params: TrainParams) -> None:
    if not all(map(math.isfinite, state.network.learned_betas())):
        raise _not_finite(
            f"learned beta is nan after {len(steps)} iterations of epoch {len(state.reports) + 1}", params
        )


def _not_finite(what: str, params: TrainParams) -> TrainingError:
    return TrainingError(
        f"the {what}, allowed is a finite number; try a smaller train.learning_rate than {params.learning_rate}"
    )
