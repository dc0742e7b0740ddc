"""snnTorch: the network of its tutorial 5, and the same with the input layer hoisted out of the time loop.

https://snntorch.readthedocs.io/en/latest/tutorials/tutorial_5.html
"""

from collections.abc import Iterator
from pathlib import Path

import snntorch
import torch
from torch import Tensor, nn

from benchmarks.contestants.classification import Classify, all_images, one_by_one
from benchmarks.contestants.torch_training import load_weights, loss_on_membrane
from benchmarks.contestants.torch_training import train as train_network
from benchmarks.task import NUM_CLASSES, NUM_INPUTS, Task


class TutorialNetwork(nn.Module):
    """The tutorial's `Net`, statement by statement."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.num_steps = task.num_steps
        self.fc1 = nn.Linear(NUM_INPUTS, task.hidden)
        self.lif1 = snntorch.Leaky(beta=task.beta)
        self.fc2 = nn.Linear(task.hidden, NUM_CLASSES)
        self.lif2 = snntorch.Leaky(beta=task.beta)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Spikes and membrane `[T, B, C]` for images `[B, 784]`."""
        mem1 = self.lif1.init_leaky()
        mem2 = self.lif2.init_leaky()
        spk2_rec = []
        mem2_rec = []
        for _ in range(self.num_steps):
            cur1 = self.fc1(x)
            spk1, mem1 = self.lif1(cur1, mem1)
            cur2 = self.fc2(spk1)
            spk2, mem2 = self.lif2(cur2, mem2)
            spk2_rec.append(spk2)
            mem2_rec.append(mem2)
        return torch.stack(spk2_rec, dim=0), torch.stack(mem2_rec, dim=0)


class HoistedNetwork(TutorialNetwork):
    """The input layer computed once, since its input is the same at every step."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the tutorial's network does."""
        mem1 = self.lif1.init_leaky()
        mem2 = self.lif2.init_leaky()
        spk2_rec = []
        mem2_rec = []
        cur1 = self.fc1(x)
        for _ in range(self.num_steps):
            spk1, mem1 = self.lif1(cur1, mem1)
            cur2 = self.fc2(spk1)
            spk2, mem2 = self.lif2(cur2, mem2)
            spk2_rec.append(spk2)
            mem2_rec.append(mem2)
        return torch.stack(spk2_rec, dim=0), torch.stack(mem2_rec, dim=0)


def tutorial_loss(mem_rec: Tensor, targets: Tensor) -> Tensor:
    """Sum the tutorial's loss step by step."""
    loss = nn.CrossEntropyLoss()
    loss_val = torch.zeros(1)
    for step in range(len(mem_rec)):
        loss_val += loss(mem_rec[step], targets)
    return loss_val


def train_tutorial(task: Task, data: Path) -> Iterator[Tensor]:
    """Train the tutorial's network as the tutorial does."""
    network = TutorialNetwork(task)
    return train_network(network, lambda images, labels: tutorial_loss(network(images)[1], labels), task, data)


def train_hoisted(task: Task, data: Path) -> Iterator[Tensor]:
    """Train as one does who has seen where the time goes."""
    network = HoistedNetwork(task)
    return train_network(network, lambda images, labels: loss_on_membrane(network(images)[1], labels), task, data)


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
