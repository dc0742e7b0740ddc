"""The network: linear layers, each followed by leaky integrate-and-fire neurons."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn

from lifline.snn.lif import lif, lif_linear
from lifline.snn.neuron import Lif


class Record(NamedTuple):
    """What the network did: output spikes and membrane `[T, B, C]`, each hidden layer's spike counts `[B, H]`."""

    spikes: Tensor
    membrane: Tensor
    hidden_counts: Sequence[Tensor]


class SpikingNetwork(nn.Module):
    """Layers of `hidden` spiking neurons and `num_classes` spiking neurons, which see images of `input_shape`.

    Args:
        input_shape: of an image, such as `(1, 28, 28)`; the network flattens it.
        hidden: neurons in each hidden layer, H.
        num_classes: output neurons, C.
        neuron: of every layer.
        num_steps: T for images that are shown at every step.
        seed: draws the initial weights, the same on every device.
    """

    def __init__(
        self,
        input_shape: Sequence[int],
        hidden: Sequence[int],
        num_classes: int,
        neuron: Lif,
        num_steps: int,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.input_shape = tuple(input_shape)
        self.neuron = neuron
        self.num_steps = num_steps
        sizes = [math.prod(input_shape), *hidden, num_classes]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.layers: Sequence[nn.Linear] = nn.ModuleList(nn.Linear(*pair) for pair in pairwise(sizes))  # type: ignore[assignment]

    def forward(self, images: Tensor, num_steps: int | None = None) -> Record:
        """Show the network a batch of images.

        Args:
            images: `[B, *input_shape]`, shown at every step; or `[T, B, *input_shape]`, one a step.
            num_steps: T for images that are shown at every step, the network's own where none is given.

        Raises:
            ValueError: the images have another shape, or steps of their own beside `num_steps`.
        """
        inputs, steps = self.flatten(images, num_steps)
        first, *later = self.layers
        current = first(inputs)  # once, where all steps see the same image
        hidden_counts = []
        for layer in later:
            current, counts = lif_linear(current, layer.weight, layer.bias, num_steps=steps, **vars(self.neuron))
            hidden_counts.append(counts)
            steps = None  # from here on each step has a current of its own
        spikes, membrane = lif(current, **vars(self.neuron))
        return Record(spikes, membrane, hidden_counts)

    def flatten(self, images: Tensor, num_steps: int | None = None) -> tuple[Tensor, int | None]:
        """Return images as the first layer takes them, `[B, N]` or `[T, B, N]`, and T where no axis holds it.

        Raises:
            ValueError: as `forward`.
        """
        num_axes = images.dim() - len(self.input_shape)  # before those of an image
        if num_axes not in (1, 2) or tuple(images.shape[num_axes:]) != self.input_shape:
            shape = ", ".join(map(str, self.input_shape))
            raise ValueError(
                f"images have the shape {list(images.shape)}; allowed are [B, {shape}] and [T, B, {shape}]"
            )
        if num_axes == 1:
            return images.flatten(1), self.num_steps if num_steps is None else num_steps
        if num_steps is not None:
            raise ValueError(f"num_steps is {num_steps}; allowed is none where images have steps: {list(images.shape)}")
        return images.flatten(2), None
