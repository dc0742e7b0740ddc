"""SpikingJelly in multi-step mode, with reset by subtraction.

Its neuron subtracts the threshold before the decay: U[t] = beta * (U[t-1] - threshold * S[t-1]) + I[t].
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from spikingjelly.activation_based import functional, layer, neuron, surrogate
from torch import Tensor, nn

from benchmarks.contestants.torch_training import loss_on_record, new_projection
from benchmarks.contestants.torch_training import train as train_network
from benchmarks.task import Task, TaskLayer
from lifline.layers import Convolution
from lifline.snn.surrogate import fire

SURROGATES: dict[str, Callable[[], nn.Module]] = {
    "atan": surrogate.ATan,
    "fast_sigmoid": lambda: surrogate.SoftSign(alpha=25.0),
}
"""By lifline's names; the second is 12.5 times the fast sigmoid of slope 25."""


class Network(nn.Module):
    """Multi-step layers, the image repeated at every step."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.num_steps = task.num_steps
        layers = task.network_layers()
        self.projections = nn.ModuleList([_multi_step_projection(layer) for layer in layers])
        self.neurons = nn.ModuleList([new_neuron(task, store_v_seq=layer is layers[-1]) for layer in layers])

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Output spikes, and membrane before its reset, `[T, B, C]`, for images `[B, *input_shape]`."""
        return self.respond(self.projections[0](images.expand(self.num_steps, *images.shape)))

    def respond(self, current: Tensor) -> tuple[Tensor, Tensor]:
        """Run the rest of the network, from the current `[T, B, ...]` of the first layer's neurons."""
        spikes = self.neurons[0](current)
        for projection, lif in zip(self.projections[1:], self.neurons[1:], strict=True):
            spikes = lif(projection(spikes))
        membrane = self.neurons[-1].v_seq + spikes.detach()  # it keeps the membrane after the reset
        functional.reset_net(self)
        return spikes, membrane


class HoistedNetwork(Network):
    """The input layer computed once, its result repeated at every step."""

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return what `Network` does."""
        (current,) = self.projections[0](images[None])
        return self.respond(current.expand(self.num_steps, *current.shape))


class PlainNetwork(nn.Module):
    """The same equations in plain PyTorch, with the surrogate `atan`."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.num_steps, self.beta = task.num_steps, task.beta
        self.projections = nn.ModuleList([new_projection(layer) for layer in task.network_layers()])

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return what `Network` does."""
        states = [(torch.zeros(()), torch.zeros(())) for _ in self.projections]
        record, membranes = [], []
        for _ in range(self.num_steps):
            spikes = images
            for i, projection in enumerate(self.projections):
                states[i] = self._step(*states[i], projection(spikes))
                spikes = states[i][1]
            membranes.append(states[-1][0])
            record.append(spikes)
        return torch.stack(record), torch.stack(membranes)

    def _step(self, membrane: Tensor, spike: Tensor, current: Tensor) -> tuple[Tensor, Tensor]:
        membrane = self.beta * (membrane - spike.detach()) + current
        return membrane, fire(membrane - 1, "atan")


def new_neuron(task: Task, store_v_seq: bool = False) -> neuron.LIFNode:
    """Make the library's neuron that is nearest to `lif`: an input that does not decay, the same kind of surrogate."""
    return neuron.LIFNode(
        tau=1 / (1 - task.beta),
        decay_input=False,
        v_reset=None,
        surrogate_function=SURROGATES[task.surrogate](),
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


def _multi_step_projection(of: TaskLayer) -> nn.Module:
    """Make what the neurons of a layer see, of the library's modules, for `[T, B, *input_shape]`."""
    projection, pooling = of.layer
    if isinstance(projection, Convolution):
        channels, (num_filters, kernel, padding) = of.input_shape[0], projection
        convolution = layer.Conv2d(channels, num_filters, kernel, padding=padding, step_mode="m")
        return nn.Sequential(convolution, layer.MaxPool2d(pooling.size, step_mode="m")) if pooling else convolution
    num_neurons, num_inputs = of.weight_shape
    linear = layer.Linear(num_inputs, num_neurons, step_mode="m")
    return linear if len(of.input_shape) == 1 else nn.Sequential(layer.Flatten(step_mode="m"), linear)


def _train(network: nn.Module, task: Task, data: Path) -> Iterator[Tensor]:
    return train_network(network, lambda images, labels: loss_on_record(*network(images), labels, task), task, data)
