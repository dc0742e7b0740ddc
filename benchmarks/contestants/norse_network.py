"""Norse: its LIF neuron without a synaptic current, the nearest to `lif` and the fastest that it has.

It scales the input current by 1 - beta, resets before the decay, and its surrogate is SuperSpike.
"""

from collections.abc import Iterator
from pathlib import Path

import torch
from norse.torch import LIFBoxCell, LIFBoxParameters
from norse.torch.functional.reset import reset_subtract
from torch import Tensor, nn

from benchmarks.contestants.torch_training import loss_on_membrane
from benchmarks.contestants.torch_training import train as train_network
from benchmarks.task import NUM_CLASSES, NUM_INPUTS, Task

STEP_SECONDS = 0.001  # Norse's default


class Network(nn.Module):
    """Cells in a time loop, as in Norse's examples."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        params = LIFBoxParameters(
            tau_mem_inv=torch.as_tensor((1 - task.beta) / STEP_SECONDS), reset_method=reset_subtract
        )
        self.num_steps = task.num_steps
        self.fc1 = nn.Linear(NUM_INPUTS, task.hidden)
        self.lif1 = LIFBoxCell(params, dt=STEP_SECONDS)
        self.fc2 = nn.Linear(task.hidden, NUM_CLASSES)
        self.lif2 = LIFBoxCell(params, dt=STEP_SECONDS)

    def forward(self, images: Tensor) -> Tensor:
        """Output membrane `[T, B, C]` for images `[B, 784]`."""
        hidden_state = output_state = None
        membranes = []
        for _ in range(self.num_steps):
            spikes, hidden_state = self.lif1(self.fc1(images), hidden_state)
            _, output_state = self.lif2(self.fc2(spikes), output_state)
            membranes.append(output_state.v)
        return torch.stack(membranes)


def train(task: Task, data: Path) -> Iterator[Tensor]:
    """Train as the library's users write it."""
    network = Network(task)
    return train_network(network, lambda images, labels: loss_on_membrane(network(images), labels), task, data)
