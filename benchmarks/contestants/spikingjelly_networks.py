"""SpikingJelly in multi-step mode, with reset by subtraction.

Its neuron subtracts the threshold before the decay: U[t] = beta * (U[t-1] - threshold * S[t-1]) + I[t].
"""

from collections.abc import Iterator
from pathlib import Path

import torch
from spikingjelly.activation_based import functional, layer, neuron, surrogate
from torch import Tensor, nn

from benchmarks.contestants.torch_training import loss_on_membrane
from benchmarks.contestants.torch_training import train as train_network
from benchmarks.task import NUM_CLASSES, NUM_INPUTS, Task
from lifline.snn.surrogate import fire


class Network(nn.Module):
    """Multi-step layers, the image repeated at every step."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.num_steps = task.num_steps
        self.fc1 = layer.Linear(NUM_INPUTS, task.hidden, step_mode="m")
        self.lif1 = new_neuron(task.beta)
        self.fc2 = layer.Linear(task.hidden, NUM_CLASSES, step_mode="m")
        self.lif2 = new_neuron(task.beta, store_v_seq=True)

    def forward(self, images: Tensor) -> Tensor:
        """Output membrane before its reset, `[T, B, C]`, for images `[B, 784]`."""
        return self.readout(self.fc1(images.expand(self.num_steps, *images.shape)))

    def readout(self, current: Tensor) -> Tensor:
        """Run the rest of the network, from the hidden neurons' current `[T, B, H]`."""
        spikes = self.lif2(self.fc2(self.lif1(current)))
        membrane = self.lif2.v_seq + spikes.detach()  # it keeps the membrane after the reset
        functional.reset_net(self)
        return membrane


class HoistedNetwork(Network):
    """The input layer computed once, its result repeated at every step."""

    def forward(self, images: Tensor) -> Tensor:
        """Return what `Network` does."""
        current = nn.functional.linear(images, self.fc1.weight, self.fc1.bias)
        return self.readout(current.expand(self.num_steps, *current.shape))


class PlainNetwork(nn.Module):
    """The same equations in plain PyTorch."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.num_steps, self.beta = task.num_steps, task.beta
        self.fc1 = nn.Linear(NUM_INPUTS, task.hidden)
        self.fc2 = nn.Linear(task.hidden, NUM_CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        """Return what `Network` does."""
        current = self.fc1(images)
        hidden = torch.zeros_like(current), torch.zeros_like(current)
        output = torch.zeros(len(images), NUM_CLASSES), torch.zeros(len(images), NUM_CLASSES)
        membranes = []
        for _ in range(self.num_steps):
            hidden = self._step(*hidden, current)
            output = self._step(*output, self.fc2(hidden[1]))
            membranes.append(output[0])
        return torch.stack(membranes)

    def _step(self, membrane: Tensor, spike: Tensor, current: Tensor) -> tuple[Tensor, Tensor]:
        membrane = self.beta * (membrane - spike.detach()) + current
        return membrane, fire(membrane - 1, "atan")


def new_neuron(beta: float, store_v_seq: bool = False) -> neuron.LIFNode:
    """Make the library's neuron that is nearest to `lif`: an input that does not decay, the same surrogate."""
    return neuron.LIFNode(
        tau=1 / (1 - beta),
        decay_input=False,
        v_reset=None,
        surrogate_function=surrogate.ATan(),
        detach_reset=True,
        step_mode="m",
        store_v_seq=store_v_seq,
    )


def train(task: Task, data: Path) -> Iterator[Tensor]:
    """Train as the library's users write it."""
    return _train(Network(task), task, data)


def train_hoisted(task: Task, data: Path) -> Iterator[Tensor]:
    """With the input layer out of the time loop."""
    return _train(HoistedNetwork(task), task, data)


def train_plain(task: Task, data: Path) -> Iterator[Tensor]:
    """Train what both must equal."""
    return _train(PlainNetwork(task), task, data)


def _train(network: nn.Module, task: Task, data: Path) -> Iterator[Tensor]:
    return train_network(network, lambda images, labels: loss_on_membrane(network(images), labels), task, data)
