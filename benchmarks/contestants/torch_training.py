"""The training step of the libraries that PyTorch differentiates, as their users write it."""

from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from benchmarks.task import ADAM_BETAS, Task, TaskLayer
from lifline.layers import Convolution


def train(network: nn.Module, loss_of: Callable[[Tensor, Tensor], Tensor], task: Task, data: Path) -> Iterator[Tensor]:
    """Train from the task's first weights; `loss_of` maps a batch of images and its labels to the loss."""
    load_weights(network, task)
    optimizer = torch.optim.Adam(network.parameters(), lr=task.learning_rate, betas=ADAM_BETAS)
    for images, labels in torch_batches(task, data):
        loss = loss_of(images, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        yield loss.detach()


def load_weights(network: nn.Module, task: Task) -> None:
    """Give a network the task's first weights; its parameters come in the order of the layers."""
    for parameter, values in zip(network.parameters(), task.weights().values(), strict=True):
        assert parameter.shape == values.shape
        parameter.data.copy_(torch.from_numpy(values))


def new_projection(layer: TaskLayer) -> nn.Module:
    """Make what a layer's neurons see, of PyTorch's modules, for `[B, *input_shape]`."""
    projection, pooling = layer.layer
    if isinstance(projection, Convolution):
        channels = layer.input_shape[0]
        convolution = nn.Conv2d(channels, projection.num_filters, projection.kernel, padding=projection.padding)
        return nn.Sequential(convolution, nn.MaxPool2d(pooling.size)) if pooling else convolution
    num_neurons, num_inputs = layer.weight_shape
    linear = nn.Linear(num_inputs, num_neurons)
    return linear if len(layer.input_shape) == 1 else nn.Sequential(nn.Flatten(), linear)


def torch_batches(task: Task, data: Path) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the task's batches as tensors, over and over."""
    return cycle([(torch.from_numpy(images), torch.from_numpy(labels)) for images, labels in task.batches(data)])


def loss_on_record(spikes: Tensor, membrane: Tensor, labels: Tensor, task: Task) -> Tensor:
    """The task's loss, the mean over the batch, on what the output did, `[T, B, C]` each.

    That is cross-entropy at every step: on the membrane, summed over steps, or on the spikes, the mean over steps.
    """
    num_steps = len(membrane)
    if task.loss == "membrane_ce":
        return num_steps * cross_entropy(membrane.flatten(0, 1), labels.repeat(num_steps))
    assert task.loss == "rate_ce"
    return cross_entropy(spikes.flatten(0, 1), labels.repeat(num_steps))
