"""Energy of an image in three lines: arithmetic alone, with memory, and an ordinary network of the same layers.

The last two are of one machine, which computes in integers as the exported network does: int8 weights, 32-bit sums and
membranes. A weight is read for each operation, and is not kept for the next; inputs are read, and outputs written, once
a step, a bit for each neuron; sums stay in registers within a step, and membranes are kept in memory from one step to
the next. The ordinary network carries as one number what spikes carry over T steps, in `ceil(log2(T + 1))` bits (Yan,
Bai and Wong, Reconsidering the energy efficiency of spiking neural networks, arXiv 2409.08290), and needs one step.
Where it skips zeros, it has the spike counts of the spiking network itself: of one step, both are the same network, and
take the same.

Accesses are counted after Lemaire et al., An analytical estimation of spiking neural networks energy efficiency,
ICONIP 2022 (arXiv 2210.13107), but for two: there a membrane is read and written for every spike that reaches it, and
each layer's inputs are read for each product of a convolution.
"""

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

from lifline.evaluation.operations import LayerWork

FLOAT_MULTIPLY_ACCUMULATE = 4.6
FLOAT_ADDITION = 0.9
"""Picojoules, 32 bits, at 45 nm, as all below: M. Horowitz, Computing's energy problem, ISSCC 2014."""

ADDITION = 0.1
"""Of 32-bit integers; a comparison is one, too."""

MULTIPLICATION = 3.1
"""Of 32-bit integers: a membrane's decay."""

MULTIPLICATION_BY_BIT = 0.2 / 8
"""Of an int8 weight, for each bit of what it is multiplied by: an eighth of a product of two int8."""

WORD_BITS = 64
SRAM = ((8 * 1024, 10.0), (32 * 1024, 20.0), (1024 * 1024, 100.0))
"""Bytes of a memory, and what an access to a word costs."""

WEIGHT_BITS, SUM_BITS, PIXEL_BITS = 8, 32, 8


class Energy(NamedTuple):
    """Of an image, in picojoules."""

    arithmetic: float
    memory: float


def float_arithmetic(num_multiply_accumulates: float, num_additions: float) -> float:
    """Return the picojoules of arithmetic alone, in 32-bit floating point."""
    return num_multiply_accumulates * FLOAT_MULTIPLY_ACCUMULATE + num_additions * FLOAT_ADDITION


def activation_bits(num_steps: int) -> int:
    """Return how many bits tell the spikes of T steps, 0 to T."""
    return num_steps.bit_length()


def picojoules_per_bit(num_bytes: float) -> float:
    """Return what it costs to read or write a bit of a memory: as Lemaire et al., a line between Horowitz's points.

    Smaller memories cost as much as the smallest; larger ones lie on the last line.
    """
    (low, at_low), (high, at_high) = next(
        (segment for segment in pairwise(SRAM) if num_bytes <= segment[1][0]), SRAM[-2:]
    )
    a_word = at_low + (at_high - at_low) * max(0.0, num_bytes - low) / (high - low)
    return a_word / WORD_BITS


def spiking_energy(layers: Sequence[LayerWork], num_steps: int, skips_zero_pixels: bool) -> Energy:
    """Return what a spiking network takes for an image; a constant one passes the first layer once."""
    return _total(_spiking_layer(layer, num_steps, skips_zero_pixels) for layer in layers)


def quantised_energy(layers: Sequence[LayerWork], num_steps: int, skips_zeros: bool) -> Energy:
    """Return what the ordinary network takes whose activations have as many bits as spikes of T steps tell.

    Where it skips zeros, its activations are the spike counts: 0 where the spiking network's neuron stays silent.
    """
    return _total(_quantised_layer(layer, activation_bits(num_steps), skips_zeros) for layer in layers)


def _spiking_layer(layer: LayerWork, num_steps: int, skips_zero_pixels: bool) -> Energy:
    looks = 1 if layer.sees_image else num_steps
    operations = layer.effective if skips_zero_pixels or not layer.sees_image else layer.dense
    input_bits = PIXEL_BITS if layer.sees_image else 1
    decays = num_steps - 1
    arithmetic = (
        operations * _product(input_bits)
        + looks * layer.num_sums * ADDITION  # biases
        + layer.num_neurons * (num_steps * ADDITION + decays * (MULTIPLICATION + ADDITION))  # thresholds, decays
    )
    kept = 2 * decays + (num_steps if layer.sees_image and decays else 0)  # membranes; the current, once written
    memory = (
        _projection_memory(layer, operations, looks, input_bits)
        + kept * _memory(layer.num_neurons * SUM_BITS)
        + num_steps * _memory(layer.num_neurons)
    )
    return Energy(arithmetic, memory)


def _quantised_layer(layer: LayerWork, bits: int, skips_zeros: bool) -> Energy:
    operations = layer.active if skips_zeros else layer.dense
    input_bits = PIXEL_BITS if layer.sees_image else bits
    arithmetic = (
        operations * _product(input_bits)
        + layer.num_sums * ADDITION
        + layer.num_neurons * bits * ADDITION  # a search among the thresholds of its values
    )
    memory = _projection_memory(layer, operations, 1, input_bits) + _memory(layer.num_neurons * bits)
    return Energy(arithmetic, memory)


def _product(input_bits: int) -> float:
    """A weight times an input, and added up; of one bit there is no product."""
    return (MULTIPLICATION_BY_BIT * input_bits if input_bits > 1 else 0) + ADDITION


def _projection_memory(layer: LayerWork, operations: float, looks: int, input_bits: int) -> float:
    """Read weights for operations, and at each look the inputs and biases."""
    weights = operations * WEIGHT_BITS * picojoules_per_bit(layer.num_weights * WEIGHT_BITS / 8)
    return weights + looks * (_memory(layer.num_inputs * input_bits) + _memory(layer.num_sums * SUM_BITS))


def _memory(num_bits: float) -> float:
    """Read or write all bits of a memory that holds as many, once."""
    return num_bits * picojoules_per_bit(num_bits / 8)


def _total(layers: Iterable[Energy]) -> Energy:
    return Energy(*map(math.fsum, zip(*layers, strict=True)))
