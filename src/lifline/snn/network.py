"""The network: linear layers, each followed by leaky integrate-and-fire neurons."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple, get_args

import torch
from torch import Tensor, nn

from lifline.choices import Coding
from lifline.snn.coding import latency_spikes, rate_spikes
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
        num_steps: T for images that have no steps of their own.
        seed: draws the initial weights, the same on every device.
        coding: of such images: `constant` shows them at every step as they are, `latency` and `rate` as spikes.

    Raises:
        ValueError: there is no such coding.
    """

    def __init__(
        self,
        input_shape: Sequence[int],
        hidden: Sequence[int],
        num_classes: int,
        neuron: Lif,
        num_steps: int,
        seed: int = 0,
        coding: Coding = "constant",
    ) -> None:
        super().__init__()
        if coding not in get_args(Coding):
            raise ValueError(f"coding is {coding!r}; allowed are {', '.join(get_args(Coding))}")
        self.input_shape = tuple(input_shape)
        self.neuron = neuron
        self.num_steps = num_steps
        self.coding = coding
        sizes = [math.prod(input_shape), *hidden, num_classes]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.layers: Sequence[nn.Linear] = nn.ModuleList(nn.Linear(*pair) for pair in pairwise(sizes))  # type: ignore[assignment]

    def forward(self, images: Tensor, num_steps: int | None = None, generator: torch.Generator | None = None) -> Record:
        """Show the network a batch of images.

        Args:
            images: `[B, *input_shape]`, coded as the network codes; or `[T, B, *input_shape]`, one a step, taken as
                they are.
            num_steps: T for images without steps, the network's own where none is given.
            generator: on the images' device, from which rate coding draws; without one it draws from PyTorch's default
                generator, as dropout does. No other coding draws.

        Raises:
            ValueError: the images have another shape, or steps of their own beside `num_steps`.
        """
        return self.respond(*self.encode(images, num_steps, generator))

    def respond(self, inputs: Tensor, steps: int | None) -> Record:
        """Let the layers answer to what `encode` returns."""
        first, *later = self.layers
        current = first(inputs)  # once, where all steps see the same image
        hidden_counts = []
        for layer in later:
            current, counts = lif_linear(current, layer.weight, layer.bias, num_steps=steps, **vars(self.neuron))
            hidden_counts.append(counts)
            steps = None  # from here on each step has a current of its own
        spikes, membrane = lif(current, **vars(self.neuron))
        return Record(spikes, membrane, hidden_counts)

    def encode(
        self, images: Tensor, num_steps: int | None = None, generator: torch.Generator | None = None
    ) -> tuple[Tensor, int | None]:
        """Return what the first layer takes: `[B, N]` and T for images shown at every step, else `[T, B, N]` and None.

        Args and errors are those of `forward`.
        """
        num_axes = images.dim() - len(self.input_shape)  # before those of an image
        if num_axes not in (1, 2) or tuple(images.shape[num_axes:]) != self.input_shape:
            shape = ", ".join(map(str, self.input_shape))
            raise ValueError(
                f"images have the shape {list(images.shape)}; allowed are [B, {shape}] and [T, B, {shape}]"
            )
        if num_axes == 1:
            return self._coded(images.flatten(1), self.num_steps if num_steps is None else num_steps, generator)
        if num_steps is not None:
            raise ValueError(f"num_steps is {num_steps}; allowed is none where images have steps: {list(images.shape)}")
        return images.flatten(2), None

    def _coded(self, pixels: Tensor, num_steps: int, generator: torch.Generator | None) -> tuple[Tensor, int | None]:
        if self.coding == "latency":
            return latency_spikes(pixels, num_steps), None
        if self.coding == "rate":
            return rate_spikes(pixels, num_steps, generator), None
        return pixels, num_steps
