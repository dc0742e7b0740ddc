"""The specification of the integer network, in NumPy: whole numbers alone.

Products are taken in float64, which is exact for whole numbers below 2^53; none comes near.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from lifline.choices import Decoding
from lifline.export.integer.network import IntegerLayer, IntegerNetwork, decayed, spike_steps
from lifline.layers import Convolution

Spikes = NDArray[np.bool_]
Integers = NDArray[np.int64]


class IntegerTrace(NamedTuple):
    """What the neurons of a layer did, each `[T, B, *shape]`."""

    spikes: Spikes
    membrane: NDArray[np.int32]


class IntegerRecord(NamedTuple):
    """What the network did with a batch of images."""

    layers: list[IntegerTrace]
    """The output's last."""

    classes: Integers
    """`[B]`."""


def run(network: IntegerNetwork, images: NDArray[np.uint8]) -> IntegerRecord:
    """Show the network images, `[B, *input_shape]`."""
    first, *others = network.layers
    traces = [fire(first, first_currents(network, images))]
    for layer in others:
        traces.append(fire(layer, (current_of(layer, spikes) for spikes in traces[-1].spikes)))
    return IntegerRecord(traces, DECODINGS[network.decoding](traces[-1]))


def first_currents(network: IntegerNetwork, images: NDArray[np.uint8]) -> Iterator[Integers]:
    """Yield the first layer's current in each step, `[B, *shape]`."""
    first = network.layers[0]
    if network.coding == "constant":
        current = current_of(first, images)
        yield from (current for _ in range(network.num_steps))
    else:
        steps_of_pixels = spike_steps(network.num_steps)[images]
        yield from (current_of(first, steps_of_pixels == step) for step in range(network.num_steps))


def fire(layer: IntegerLayer, currents: Iterator[Integers]) -> IntegerTrace:
    """Let a layer's neurons answer to a current in each step, `[B, *shape]`."""
    threshold = of_channels(layer.threshold, layer)
    membranes, all_spikes = [], []
    membrane: Integers = np.zeros(1, np.int64)
    spikes: Spikes = np.zeros(1, bool)
    for current in currents:
        membrane = decayed(membrane, layer.multiplier) + current - threshold * spikes
        spikes = membrane > threshold
        membranes.append(membrane.astype(np.int32))
        all_spikes.append(spikes)
    if layer.spike_delay == 1:
        all_spikes = [np.zeros_like(spikes), *all_spikes[:-1]]
    return IntegerTrace(np.stack(all_spikes), np.stack(membranes))


def current_of(layer: IntegerLayer, inputs: NDArray[np.uint8] | Spikes) -> Integers:
    """Return the current of a layer's neurons, `[B, *shape]`, for what it sees in a step, `[B, ...]`."""
    sums = convolved(layer, inputs) if isinstance(layer.layer.projection, Convolution) else projected(layer, inputs)
    return (sums << layer.fraction_bits) + of_channels(layer.bias, layer)


def projected(layer: IntegerLayer, inputs: NDArray[np.uint8] | Spikes) -> Integers:
    """Return the sums of weights that each neuron sees, `[B, N]`."""
    flat = inputs.reshape(len(inputs), -1)
    return (flat.astype(np.float64) @ layer.weights.T.astype(np.float64)).astype(np.int64)


def convolved(layer: IntegerLayer, inputs: NDArray[np.uint8] | Spikes) -> Integers:
    """Return the sums of weights that each filter sees in each place, pooled where the layer pools, `[B, C, H, W]`."""
    assert isinstance(layer.layer.projection, Convolution)
    _, kernel, padding = layer.layer.projection
    num_filters, height, width = layer.projected_shape
    beyond = (padding, padding)
    padded = np.pad(inputs, ((0, 0), (0, 0), beyond, beyond)).astype(np.float64)
    sums = np.zeros((len(inputs), height, width, num_filters))
    for row in range(kernel):  # all at once would take that many times the memory
        seen = sliding_window_view(padded[:, :, row : row + height], kernel, axis=3)
        sums += np.tensordot(seen, layer.weights[:, :, row].astype(np.float64), axes=((1, 4), (1, 2)))
    return pooled(layer, np.moveaxis(sums, -1, 1).astype(np.int64))


def pooled(layer: IntegerLayer, sums: Integers) -> Integers:
    """Return each window's largest sum, or all added up, `[B, C, H, W]`; what is left over at the edges is left out."""
    pooling = layer.layer.pooling
    if pooling is None:
        return sums
    channels, height, width = layer.shape
    whole = sums[:, :, : height * pooling.size, : width * pooling.size]
    windows = whole.reshape(len(sums), channels, height, pooling.size, width, pooling.size)
    result: Integers = windows.max((3, 5)) if pooling.kind == "max" else windows.sum((3, 5))
    return result


def of_channels(values: NDArray[np.int32], layer: IntegerLayer) -> Integers:
    """Return values of channels so that they fit beside `[B, *shape]`."""
    return values.astype(np.int64).reshape(-1, *[1] * (len(layer.shape) - 1))


def by_rate(output: IntegerTrace) -> Integers:
    """Take the class with most spikes, the lowest where several tie."""
    decided: Integers = output.spikes.sum(0).argmax(1)
    return decided


def by_rate_then_membrane(output: IntegerTrace) -> Integers:
    """Take the class with most spikes; a tie goes to the larger membrane summed over steps."""
    return best_by_membrane(output.spikes.sum(0), output)


def by_latency(output: IntegerTrace) -> Integers:
    """Take the class that fires first; a tie goes to the larger membrane summed over steps."""
    first_spike = np.where(output.spikes.any(0), output.spikes.argmax(0), len(output.spikes))
    return best_by_membrane(-first_spike, output)


def by_membrane(output: IntegerTrace) -> Integers:
    """Take the largest membrane summed over steps."""
    decided: Integers = output.membrane.sum(0, dtype=np.int64).argmax(1)
    return decided


def best_by_membrane(score: Integers, output: IntegerTrace) -> Integers:
    """Take the class with the highest score `[B, C]`, of several the one with the largest summed membrane."""
    best = score == score.max(1, keepdims=True)
    decided: Integers = np.where(best, output.membrane.sum(0, dtype=np.int64), np.iinfo(np.int64).min).argmax(1)
    return decided


DECODINGS: dict[Decoding, Callable[[IntegerTrace], Integers]] = {
    "rate": by_rate,
    "rate_membrane": by_rate_then_membrane,
    "latency": by_latency,
    "membrane": by_membrane,
}
