"""A network in whole numbers, as a value, and how large its numbers can become."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from lifline.choices import Decoding
from lifline.data.batches import as_input
from lifline.layers import HiddenLayer, layer_names
from lifline.snn.coding import latency_spikes

IntegerCoding = Literal["constant", "latency"]
"""Rate coding draws numbers that others cannot repeat."""

MULTIPLIER_BITS = 16
"""A membrane decays by its multiplier / 2^16."""

LARGEST = 2**31 - 1
"""Of an int32."""

BRIGHTEST = 255
"""Of a byte."""


@dataclass(frozen=True, eq=False)
class IntegerLayer:
    """A layer whose weights, currents, membranes and thresholds are whole numbers.

    A neuron's membrane, threshold and bias share a unit: what a weight of 1 stands for, divided by `2^fraction_bits`.
    So its current is the sum of the weights that it sees times `2^fraction_bits`, plus its bias. With average pooling
    a neuron sees all of its window; what the sum is divided by is in the unit.
    """

    layer: HiddenLayer
    """What it is made of."""

    input_shape: tuple[int, ...]
    """Of what it sees in a step, `(N,)` or `(C, H, W)`."""

    projected_shape: tuple[int, ...]
    """Of what the projection gives, before pooling."""

    shape: tuple[int, ...]
    """Of its neurons."""

    weights: NDArray[np.int8]
    """`[N, inputs]`, or `[C, input channels, kernel, kernel]`."""

    bias: NDArray[np.int32]
    """Of each channel, `[C]`; where there are no channels, of each neuron, `[N]`."""

    threshold: NDArray[np.int32]
    """Likewise."""

    multiplier: int
    """The decay times 2^16."""

    fraction_bits: int
    """Bits of a membrane below the step of a weight."""

    spike_delay: int
    """Steps by which a spike leaves late, 0 or 1."""

    @property
    def num_summed(self) -> int:
        """How many of the projection's outputs average pooling adds up for a neuron; 1 where there is none."""
        pooling = self.layer.pooling
        return pooling.size**2 if pooling and pooling.kind == "average" else 1

    def largest_current(self, largest_input: int) -> NDArray[np.int64]:
        """Return how far a current, or any part of its sum, can be from 0: of each channel, `[C]` or `[N]`."""
        weights = self.weights.reshape(len(self.weights), -1).astype(np.int64)
        excited, inhibited = weights.clip(min=0).sum(1), -weights.clip(max=0).sum(1)
        sums = np.maximum(excited, inhibited) * self.num_summed * largest_input
        largest: NDArray[np.int64] = (sums << self.fraction_bits) + np.abs(self.bias.astype(np.int64))
        return largest

    def largest_membrane(self, largest_input: int, num_steps: int) -> int:
        """Return how far a membrane can be from 0 by the last step; the search ends above the largest int32."""
        grows_by = self.largest_current(largest_input) + np.abs(self.threshold.astype(np.int64))
        membrane = np.zeros_like(grows_by)
        for _ in range(num_steps):
            membrane = decayed(membrane, self.multiplier) + grows_by
            if membrane.max() > LARGEST:
                break
        return int(membrane.max())


@dataclass(frozen=True, eq=False)
class IntegerNetwork:
    """A spiking network in whole numbers: `lifline.export.integer.reference` says what it does."""

    layers: tuple[IntegerLayer, ...]
    """The output's last; all of its neurons share a unit, so that their membranes compare."""

    num_steps: int
    """T."""

    coding: IntegerCoding

    decoding: Decoding

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Of an image."""
        return self.layers[0].input_shape

    @property
    def num_bytes(self) -> int:
        """Of its weights, biases and thresholds."""
        return sum(array.nbytes for layer in self.layers for array in (layer.weights, layer.bias, layer.threshold))

    def overflowing_layer(self) -> str | None:
        """Return the name of the first layer whose membranes might leave int32; None where no image can do that."""
        for name, layer, largest_input in zip(
            layer_names(len(self.layers)), self.layers, largest_inputs(self.coding, len(self.layers)), strict=True
        ):
            if layer.largest_membrane(largest_input, self.num_steps) > LARGEST:
                return name
        return None


def largest_inputs(coding: IntegerCoding, num_layers: int) -> list[int]:
    """Return the largest value that each layer sees: a byte, or a spike."""
    return [BRIGHTEST if coding == "constant" else 1] + [1] * (num_layers - 1)


def decayed(membrane: NDArray[np.int64], multiplier: int) -> NDArray[np.int64]:
    """Return `membrane * multiplier / 2^16`, rounded to the nearest whole number, halves up."""
    return (membrane * multiplier + (1 << MULTIPLIER_BITS - 1)) >> MULTIPLIER_BITS


def spike_steps(num_steps: int) -> NDArray[np.int64]:
    """Return the step in which a pixel fires by latency, for each of its brightnesses, `[256]`; T: never."""
    spikes = latency_spikes(as_input(torch.arange(BRIGHTEST + 1, dtype=torch.uint8)), num_steps).numpy()
    return np.where(spikes.any(0), spikes.argmax(0), num_steps)
