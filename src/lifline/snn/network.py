"""The network: layers of leaky integrate-and-fire neurons, one after another."""

import warnings
from collections.abc import Iterable, Sequence
from copy import deepcopy
from dataclasses import replace
from itertools import pairwise
from typing import NamedTuple, get_args

import torch
from torch import Tensor, nn
from torch.utils import _pytree

from lifline.choices import Coding
from lifline.layers import Dense, HiddenLayer, LayersError, Shapes, parse_layers, shapes_of
from lifline.snn.arguments import is_whole
from lifline.snn.coding import latency_spikes, rate_spikes
from lifline.snn.layer import SpikingLayer
from lifline.snn.neuron import Lif
from lifline.snn.surrogate import is_traced


class Record(NamedTuple):
    """What the network did: output spikes and membrane `[T, B, C]`, each hidden layer's spike counts `[B, N]`."""

    spikes: Tensor
    membrane: Tensor
    hidden_counts: Sequence[Tensor]


# So that torch.export.save can write what returns one: PyTorch asks for this by name.
_pytree._register_namedtuple(Record, serialized_type_name="lifline.snn.Record")


class SpikingNetwork(nn.Module):
    """Spiking layers, the last of them the output; `from_layers` makes one of layers as the field writes them.

    Args:
        layers: each takes what the one before gives.
        num_steps: T for images that have no steps of their own.
        coding: of such images: `constant` shows them at every step as they are, `latency` and `rate` as spikes.

    Raises:
        ValueError: there is no such coding, or number of steps.
    """

    def __init__(self, layers: Sequence[SpikingLayer], num_steps: int, coding: Coding = "constant") -> None:
        super().__init__()
        if not (is_whole(num_steps) and num_steps >= 1):
            raise ValueError(f"num_steps is {num_steps!r}; allowed is a whole number from 1")
        if coding not in get_args(Coding):
            raise ValueError(f"coding is {coding!r}; allowed are {', '.join(get_args(Coding))}")
        self.input_shape = layers[0].input_shape
        self.num_steps = num_steps
        self.coding = coding
        self.layers: Sequence[SpikingLayer] = nn.ModuleList(layers)  # type: ignore[assignment]

    @classmethod
    def from_layers(
        cls,
        layers: str,
        input_shape: Sequence[int],
        num_classes: int,
        neuron: Lif | Sequence[Lif],
        num_steps: int,
        seed: int = 0,
        coding: Coding = "constant",
        learn_beta: bool = False,
    ) -> "SpikingNetwork":
        """Make a network whose last layer has a neuron for each class.

        Args:
            layers: the hidden ones, such as `1000`, `800-800` or `12C5-MP2-64C5-MP2` (`lifline.layers`).
            input_shape: of an image, such as `(1, 28, 28)`.
            num_classes: output neurons, C.
            neuron: of every layer, or one for each, the output's last.
            num_steps: T for images that have no steps of their own.
            seed: draws the initial weights, the same on every device.
            coding: of images that have no steps of their own.
            learn_beta: whether each layer's decay is learned.

        Raises:
            LayersError: layers are not written so, or do not fit the image.
            ValueError: there is no class, or no such shape of an image; there are more or fewer neurons than layers, or
                others than `Lif`; or one cannot learn its decay.
        """
        if not (is_whole(num_classes) and num_classes >= 1):
            raise ValueError(f"num_classes is {num_classes}; allowed is a whole number from 1")
        sides = tuple(input_shape) if isinstance(input_shape, Iterable) else ()
        if not (sides and all(is_whole(side) and side >= 1 for side in sides)):
            raise ValueError(f"input_shape is {input_shape}; allowed are whole numbers from 1, such as (1, 28, 28)")
        try:
            made = [*parse_layers(layers), HiddenLayer(Dense(num_classes))]
            shapes = [*shapes_of(layers, sides), Shapes((num_classes,), (num_classes,))]
        except LayersError as error:
            raise LayersError(f"layers {error}") from None
        seen = [sides, *(each.neurons for each in shapes)]
        neurons = [neuron] * len(made) if isinstance(neuron, Lif) else neuron
        fit = isinstance(neurons, Sequence) and all(isinstance(each, Lif) for each in neurons)
        if not (fit and len(neurons) == len(made)):
            raise ValueError(f"neuron is {neuron}; allowed are a Lif, or a list of {len(made)}: one for each layer")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            built = [SpikingLayer(*parts, learn_beta) for parts in zip(made, seen[:-1], shapes, neurons, strict=True)]
        return cls(built, num_steps, coding)

    def forward(self, images: Tensor, num_steps: int | None = None, generator: torch.Generator | None = None) -> Record:
        """Show the network a batch of images.

        Args:
            images: `[B, *input_shape]`, coded as the network codes; or `[T, B, *input_shape]`, one a step, taken as
                they are.
            num_steps: T for images without steps, the network's own where none is given.
            generator: on the images' device, from which rate coding draws; without one it draws from PyTorch's default
                generator, as dropout does. No other coding draws.

        Raises:
            ValueError: the images have another shape or no floating-point numbers, or steps of their own beside
                `num_steps`.
        """
        return self.respond(*self.encode(images, num_steps, generator))

    def respond(self, inputs: Tensor, steps: int | None) -> Record:
        """Let the layers answer to what `encode` returns."""
        current = self.layers[0](inputs)  # once, where all steps see the same image
        hidden_counts = []
        for layer, following in pairwise(self.layers):
            current, counts = layer.fire_into(following, current, steps)
            hidden_counts.append(counts)
            steps = None  # from here on each step has a current of its own
        return Record(*self.layers[-1].fire(current, steps), hidden_counts)

    def stream(
        self,
        images: Tensor,
        membranes: Sequence[Tensor] | None = None,
        num_steps: int | None = None,
        generator: torch.Generator | None = None,
    ) -> tuple[Record, list[Tensor]]:
        """Show the network the next part of a sequence: it goes on from where the part before ended.

        All parts together are the whole to the rounding of the layers' products, which `forward` fuses with neurons.

        Args:
            images: as in `forward`.
            membranes: what the call before returned; none for the first part.
            num_steps: as in `forward`, of this part.
            generator: as in `forward`.

        Returns:
            The record of this part, and each layer's membrane after it, `[B, *shape]`. Gradients reach the parts
            before, unless it is detached.

        Raises:
            ValueError: as `forward`; there are more or fewer membranes than layers, or of other shapes; or images
                without steps are coded by latency, which would begin anew in each part.
        """
        if self.coding == "latency" and images.dim() == 1 + len(self.input_shape):
            raise ValueError("coding is latency, which shows an image whole; allowed in a stream are images with steps")
        starts = [None] * len(self.layers) if membranes is None else membranes
        if len(starts) != len(self.layers):
            raise ValueError(f"there are {len(starts)} membranes; allowed is {len(self.layers)}: one for each layer")
        seen, steps = self.encode(images, num_steps, generator)
        last, hidden_counts = [], []
        for layer, initial in zip(self.layers, starts, strict=True):
            spikes, membrane = layer.fire(layer(seen), steps, initial)
            last.append(membrane[-1].clone())
            hidden_counts.append(spikes.sum(0).flatten(1))
            seen, steps = spikes, None
        return Record(spikes, membrane, hidden_counts[:-1]), last

    def extra_repr(self) -> str:
        """What holds for all layers, as `print` shows it."""
        return f"num_steps={self.num_steps}, coding={self.coding}"

    def encode(
        self, images: Tensor, num_steps: int | None = None, generator: torch.Generator | None = None
    ) -> tuple[Tensor, int | None]:
        """Return what the first layer takes, and for how many steps.

        That is `[B, *input_shape]` and T for images shown at every step, else `[T, B, *input_shape]` and None. Args and
        errors are those of `forward`.
        """
        num_axes = images.dim() - len(self.input_shape)  # before those of an image
        if num_axes not in (1, 2) or _sizes(images)[num_axes:] != self.input_shape:
            shape = ", ".join(map(str, self.input_shape))
            raise ValueError(
                f"images have the shape {list(images.shape)}; allowed are [B, {shape}] and [T, B, {shape}]"
            )
        if not images.is_floating_point():
            raise ValueError(
                f"images are of {images.dtype}; allowed are floating-point ones: bytes / 255, or 0. and 1."
            )
        if num_axes == 1:
            return self._coded(images, self.num_steps if num_steps is None else num_steps, generator)
        if num_steps is not None:
            raise ValueError(f"num_steps is {num_steps}; allowed is none where images have steps: {list(images.shape)}")
        return images, None

    def learned_betas(self) -> list[float]:
        """Return the decay of each layer where it is learned; else nothing. Waits for the device."""
        return [layer.decay() for layer in self.layers if layer.beta_logit is not None]

    def frozen(self) -> "SpikingNetwork":
        """Return a copy that learns no more: each layer's decay is a number."""
        copy = deepcopy(self).eval().requires_grad_(False)
        for layer in copy.layers:
            layer.neuron = replace(layer.neuron, beta=layer.decay())
            layer.beta_logit = None
        return copy

    def _coded(self, pixels: Tensor, num_steps: int, generator: torch.Generator | None) -> tuple[Tensor, int | None]:
        if self.coding == "latency":
            return latency_spikes(pixels, num_steps), None
        if self.coding == "rate":
            return rate_spikes(pixels, num_steps, generator), None
        return pixels, num_steps


def _sizes(images: Tensor) -> tuple[int, ...]:
    """The shape, as numbers: under `torch.jit.trace` sizes are tensors, of which to take the value is to warn."""
    if not is_traced():
        return tuple(images.shape)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", torch.jit.TracerWarning)  # type: ignore[attr-defined]
        return tuple(map(int, images.shape))
