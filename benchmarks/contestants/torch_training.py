"""The training step of the libraries that PyTorch differentiates, as their users write it."""

from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from benchmarks.task import ADAM_BETAS, Task


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
    """Give a network the task's first weights; what else a library keeps in it stays."""
    network.load_state_dict({name: torch.from_numpy(values) for name, values in task.weights().items()}, strict=False)


def torch_batches(task: Task, data: Path) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the task's batches as tensors, over and over."""
    return cycle([(torch.from_numpy(images), torch.from_numpy(labels)) for images, labels in task.batches(data)])


def loss_on_membrane(membrane: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy on the membrane `[T, B, C]` at every step, summed over steps, the mean over the batch."""
    num_steps = len(membrane)
    return num_steps * cross_entropy(membrane.flatten(0, 1), labels.repeat(num_steps))
