"""A trained network becomes one in whole numbers."""

from dataclasses import replace
from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lifline.choices import Decoding
from lifline.errors import ModelError
from lifline.export.integer.network import LARGEST, MULTIPLIER_BITS, IntegerLayer, IntegerNetwork, largest_inputs
from lifline.layers import layer_names
from lifline.snn.layer import SpikingLayer
from lifline.snn.network import SpikingNetwork

LARGEST_WEIGHT = 127
"""So that each int8 has its negative."""

MAX_FRACTION_BITS = 8
"""Membranes are rounded to 1/256 of the step of a weight then; finer is not seen."""

FINEST_BITS = (16, 12)
"""The step of a weight is at least 1/2^16 of threshold and bias, or where there is no room for that, 1/2^12: in steps
of weights that vanish they would outgrow an int32."""


class _Real(NamedTuple):
    """A layer's numbers as they were trained."""

    weights: NDArray[np.float64]
    """`[C, ...]`."""

    bias: NDArray[np.float64]
    """`[C]`."""

    beta: float
    threshold: float


def quantize(network: SpikingNetwork, decoding: Decoding) -> IntegerNetwork:
    """Return the network in whole numbers.

    The step of a weight is 1/127 of the largest of its neuron or filter; in the output layer, of all. Membranes have
    as many bits below that as leave room for the largest that any image can cause.

    Raises:
        ModelError: images are coded by rate, a layer is not as it is written, a number is not finite, or membranes
            might outgrow an int32.
    """
    if network.coding == "rate":
        raise ModelError(
            "network.coding is rate, which draws numbers that others cannot repeat; allowed for an integer network are "
            "constant and latency"
        )
    frozen = network.frozen()
    names = layer_names(len(frozen.layers))
    layers = [
        _quantized(name, layer, largest_input, network.num_steps, shares_unit=name == names[-1])
        for name, layer, largest_input in zip(
            names, frozen.layers, largest_inputs(network.coding, len(names)), strict=True
        )
    ]
    return IntegerNetwork(tuple(layers), network.num_steps, network.coding, decoding)


def _quantized(name: str, layer: SpikingLayer, largest_input: int, num_steps: int, shares_unit: bool) -> IntegerLayer:
    """Return a layer with as many fraction bits as its membranes have room for."""
    real = _real(name, layer)
    for finest_bits, fraction_bits in product(FINEST_BITS, range(MAX_FRACTION_BITS, -1, -1)):
        steps = _steps(real, finest_bits, shares_unit)
        quantized = _with_fraction_bits(layer, real, steps, largest_input, fraction_bits)
        if quantized is not None and quantized.largest_membrane(largest_input, num_steps) <= LARGEST:
            return quantized
    raise ModelError(
        f"{name} cannot be bounded: within {num_steps} steps a membrane with beta {real.beta:g} might outgrow 32 bits; "
        "allowed for an integer network are fewer steps or a smaller beta"
    )


def _real(name: str, layer: SpikingLayer) -> _Real:
    parameters = layer.plain_parameters()
    if parameters is None or layer.has_seen_spikes():
        raise ModelError(f"{name} computes other than its layers are written; allowed is what they say")
    weights, bias = (parameter.detach().cpu().double().numpy() for parameter in parameters)
    if not (np.isfinite(weights).all() and np.isfinite(bias).all()):
        raise ModelError(f"{name} has a weight or bias that is not finite; allowed are finite numbers")
    return _Real(weights, bias, float(layer.neuron.beta), float(layer.neuron.threshold))


def _steps(real: _Real, finest_bits: int, shares_unit: bool) -> NDArray[np.float64]:
    """Return what a weight of 1 stands for, of each channel."""
    largest = np.abs(real.weights).reshape(len(real.weights), -1).max(1) / LARGEST_WEIGHT
    finest = np.maximum(real.threshold, np.abs(real.bias)) / 2**finest_bits
    steps: NDArray[np.float64] = np.maximum(largest, finest)
    return np.full_like(steps, steps.max()) if shares_unit else steps


def _with_fraction_bits(
    layer: SpikingLayer, real: _Real, steps: NDArray[np.float64], largest_input: int, fraction_bits: int
) -> IntegerLayer | None:
    """Return a layer with so many fraction bits; None where its bias or threshold has no room."""
    steps_of_channels = steps.reshape(-1, *[1] * (real.weights.ndim - 1))
    weights = np.rint(real.weights / steps_of_channels).astype(np.int8)
    quantized = IntegerLayer(
        layer.layer, layer.input_shape, layer.projected_shape, layer.shape,
        weights, np.zeros(0, np.int32), np.zeros(0, np.int32),
        round(real.beta * 2**MULTIPLIER_BITS), fraction_bits, layer.neuron.spike_delay,
    )  # fmt: skip
    unit = steps / (largest_input * quantized.num_summed * 2**fraction_bits)
    bias, threshold = np.rint(real.bias / unit), np.rint(real.threshold / unit)
    if max(np.abs(bias).max(), np.abs(threshold).max()) > LARGEST:
        return None
    return replace(quantized, bias=bias.astype(np.int32), threshold=threshold.astype(np.int32))
