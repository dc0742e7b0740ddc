"""snnTorch: the networks of its tutorials 5 and 6, and the same with the input layer hoisted out of the time loop.

https://snntorch.readthedocs.io/en/latest/tutorials/tutorial_5.html and tutorial_6.html
"""

from collections.abc import Iterator
from pathlib import Path

import snntorch
import torch
from snntorch import functional, surrogate
from torch import Tensor, nn

from benchmarks.contestants.classification import Classify, all_images, one_by_one
from benchmarks.contestants.torch_training import load_weights, loss_on_record, new_projection
from benchmarks.contestants.torch_training import train as train_network
from benchmarks.task import Task

SURROGATES = {"atan": None, "fast_sigmoid": surrogate.fast_sigmoid(slope=25)}
"""By lifline's names; the first is the library's default, as in tutorial 5, the second that of tutorial 6."""


class TutorialNetwork(nn.Module):
    """The tutorials' `Net`: the same statements at every step, for any layers."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.num_steps = task.num_steps
        layers, spike_grad = task.network_layers(), SURROGATES[task.surrogate]
        self.projections = nn.ModuleList([new_projection(layer) for layer in layers])
        self.neurons = nn.ModuleList([snntorch.Leaky(beta=task.beta, spike_grad=spike_grad) for _ in layers])

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Spikes and membrane `[T, B, C]` for images `[B, *input_shape]`."""
        mem = [lif.init_leaky() for lif in self.neurons]
        spk_rec = []
        mem_rec = []
        for _ in range(self.num_steps):
            spk = x
            for i, (projection, lif) in enumerate(zip(self.projections, self.neurons, strict=True)):
                spk, mem[i] = lif(projection(spk), mem[i])
            spk_rec.append(spk)
            mem_rec.append(mem[-1])
        return torch.stack(spk_rec, dim=0), torch.stack(mem_rec, dim=0)


class HoistedNetwork(TutorialNetwork):
    """The input layer computed once, since its input is the same at every step."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the tutorial's network does."""
        mem = [lif.init_leaky() for lif in self.neurons]
        spk_rec = []
        mem_rec = []
        cur1 = self.projections[0](x)
        for _ in range(self.num_steps):
            spk, mem[0] = self.neurons[0](cur1, mem[0])
            for i in range(1, len(mem)):
                spk, mem[i] = self.neurons[i](self.projections[i](spk), mem[i])
            spk_rec.append(spk)
            mem_rec.append(mem[-1])
        return torch.stack(spk_rec, dim=0), torch.stack(mem_rec, dim=0)


def tutorial_loss(spk_rec: Tensor, mem_rec: Tensor, targets: Tensor, task: Task) -> Tensor:
    """Compute the loss as the tutorial does: 5 sums step by step, 6 has a function of the library's."""
    if task.loss == "rate_ce":
        rate_loss: Tensor = functional.ce_rate_loss()(spk_rec, targets)
        return rate_loss
    loss = nn.CrossEntropyLoss()
    loss_val = torch.zeros(1)
    for step in range(len(mem_rec)):
        loss_val += loss(mem_rec[step], targets)
    return loss_val


def train_tutorial(task: Task, data: Path) -> Iterator[Tensor]:
    """Train the tutorial's network as the tutorial does."""
    network = TutorialNetwork(task)
    return train_network(network, lambda images, labels: tutorial_loss(*network(images), labels, task), task, data)


def train_compiled(task: Task, data: Path) -> Iterator[Tensor]:
    """Train the tutorial's network under `torch.compile`."""
    network = TutorialNetwork(task)
    compiled = torch.compile(network)
    return train_network(network, lambda images, labels: tutorial_loss(*compiled(images), labels, task), task, data)


def train_hoisted(task: Task, data: Path) -> Iterator[Tensor]:
    """Train as one does who has seen where the time goes."""
    network = HoistedNetwork(task)
    return train_network(network, lambda images, labels: loss_on_record(*network(images), labels, task), task, data)


def classify_all(task: Task, mnist: Path) -> Iterator[int]:
    """Run the tutorial's network on the test set."""
    return all_images(_classifier(task), mnist)


def classify_one(task: Task, mnist: Path) -> Iterator[int]:
    """Run the tutorial's network on single images."""
    return one_by_one(_classifier(task), mnist)


def _classifier(task: Task) -> Classify:
    network = TutorialNetwork(task)
    load_weights(network, task)
    return torch.no_grad()(lambda images: network(images)[0].sum(0).argmax(1))
