"""Norse: its LIF neuron without a synaptic current, the nearest to `lif` and the fastest that it has.

It scales the input current by 1 - beta, resets before the decay, and its surrogate is SuperSpike.
"""

from collections.abc import Iterator
from pathlib import Path

import torch
from norse.torch import LIFBoxCell, LIFBoxParameters
from norse.torch.functional.reset import reset_subtract
from torch import Tensor, nn

from benchmarks.contestants.torch_training import loss_on_record, new_projection
from benchmarks.contestants.torch_training import train as train_network
from benchmarks.task import Task

STEP_SECONDS = 0.001  # Norse's default


class Network(nn.Module):
    """Cells in a time loop, as in Norse's examples."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        params = LIFBoxParameters(
            tau_mem_inv=torch.as_tensor((1 - task.beta) / STEP_SECONDS), reset_method=reset_subtract
        )
        self.num_steps = task.num_steps
        layers = task.network_layers()
        self.projections = nn.ModuleList([new_projection(layer) for layer in layers])
        self.cells = nn.ModuleList([LIFBoxCell(params, dt=STEP_SECONDS) for _ in layers])

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Output spikes and membrane `[T, B, C]` for images `[B, *input_shape]`."""
        states = [None for _ in self.cells]
        record, membranes = [], []
        for _ in range(self.num_steps):
            spikes = images
            for i, (projection, cell) in enumerate(zip(self.projections, self.cells, strict=True)):
                spikes, states[i] = cell(projection(spikes), states[i])
            record.append(spikes)
            membranes.append(states[-1].v)
        return torch.stack(record), torch.stack(membranes)


def train(task: Task, data: Path) -> Iterator[Tensor]:
    """Train as the library's users write it."""
    network = Network(task)
    return train_network(network, lambda images, labels: loss_on_record(*network(images), labels, task), task, data)
