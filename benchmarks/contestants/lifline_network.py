"""lifline, by its public names."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.contestants.classification import Classify, all_images, one_by_one
from benchmarks.contestants.torch_training import torch_batches
from benchmarks.task import IMAGE_SHAPE, NUM_CLASSES, Task
from lifline.data.augmentation import augment as augmentation_of_lifline
from lifline.params import read_params
from lifline.snn import Lif, SpikingNetwork, decode
from lifline.snn.loss import membrane_ce, rate_ce
from lifline.training.objective import make_loss
from lifline.training.optimizer import Adam

LOSSES = {"membrane_ce": membrane_ce, "rate_ce": rate_ce}


def train(task: Task, data: Path) -> Iterator[Tensor]:
    """Train by the steps of `lifline.training.fit.fit`, on images that are ready, without counting what is right."""
    return _train(task, data, precision="fp32")


def train_bf16(task: Task, data: Path) -> Iterator[Tensor]:
    """Train so with `train.precision` at bf16."""
    return _train(task, data, precision="bf16")


def _train(task: Task, data: Path, precision: str) -> Iterator[Tensor]:
    network, loss_of = new_network(task), LOSSES[task.loss]
    adam = Adam(network)
    for images, labels in torch_batches(task, data):
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            record = network(images)
        loss = loss_of(record, labels)
        network.zero_grad()
        loss.backward()
        adam.step(task.learning_rate)
        yield loss.detach()


def train_recipe(task: Task, data: Path) -> Iterator[Tensor]:
    """Train by the recipe in params.yaml, without its augmentation."""
    params = read_params()
    network, loss = new_network(task), make_loss(params.train)
    adam = Adam(network)
    for images, labels in torch_batches(task, data):
        value = loss(network(images), labels)
        network.zero_grad()
        value.backward()
        adam.step(params.train.learning_rate)
        yield value.detach()


def augment(task: Task, data: Path) -> Iterator[float]:
    """Augment as the recipe in params.yaml does, and nothing else."""
    augmentation, generator = read_params().augmentation, torch.Generator()
    for images, _ in torch_batches(task, data):
        augmentation_of_lifline(images.reshape(-1, *IMAGE_SHAPE), augmentation, generator)
        yield 0.0


def classify_all(task: Task, mnist: Path) -> Iterator[int]:
    """Run the network on the test set."""
    return all_images(_classifier(task), mnist)


def classify_one(task: Task, mnist: Path) -> Iterator[int]:
    """Run the network on single images."""
    return one_by_one(_classifier(task), mnist)


def new_network(task: Task, input_shape: Sequence[int] | None = None) -> SpikingNetwork:
    """Make the task's network, for images of another shape where one is given."""
    neuron = Lif(task.beta, surrogate=task.surrogate)
    input_shape = task.input_shape if input_shape is None else input_shape
    network = SpikingNetwork.from_layers(task.layers, input_shape, NUM_CLASSES, neuron, task.num_steps)
    weights = map(torch.from_numpy, task.weights().values())
    network.load_state_dict(dict(zip(network.state_dict(), weights, strict=True)))
    return network


def _classifier(task: Task) -> Classify:
    network = new_network(task)
    return torch.no_grad()(lambda images: decode(network(images), "rate"))
