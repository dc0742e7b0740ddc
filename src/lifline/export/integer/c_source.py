"""The integer network as C99: no floating point, no allocation, no library.

It is event-driven: for each spike, or pixel that is not 0, one column of weights is added. Neurons behind a convolution
stand in the order `[height][width][channel]`, so that what a spike adds to a row of them lies in one piece.
"""

import math
from collections.abc import Iterator, Sequence
from string import Template

import numpy as np
from numpy.typing import NDArray

from lifline.export.integer.network import IntegerLayer, IntegerNetwork, spike_steps
from lifline.export.integer.templates import (
    BETTER,
    CLASSIFY,
    CLEAR,
    CONVOLUTION,
    DELAY,
    DENSE,
    FIRE,
    HEADER,
    LARGEST_ONE,
    LATENCY,
    POOLING,
    SOURCE,
    SUM_ONE,
    TALLIES,
)
from lifline.layers import Convolution, layer_names

WIDTH = 118
"""Of a line of numbers, at most."""


BYTES = {"int32_t": 4, "uint8_t": 1}
"""Bytes of a number."""

Member = tuple[str, str, int]
"""An array of the working memory: its type, name and length."""


def c_header(network: IntegerNetwork) -> str:
    """Return `network.h`: the function, and the working memory that it needs."""
    members = list(_members(network))
    return Template(HEADER).substitute(
        image=_product(network.input_shape),
        order=", a channel after the other" * (len(network.input_shape) > 1 and network.input_shape[0] > 1),
        image_size=math.prod(network.input_shape),
        num_classes=math.prod(network.layers[-1].shape),
        num_steps=network.num_steps,
        members="\n".join(f"    {kind} {name}[{length}];" for kind, name, length in members),
        num_bytes=f"{_num_bytes(members):,}",
    )


def c_source(network: IntegerNetwork) -> str:
    """Return `network.c`."""
    names = layer_names(len(network.layers))
    parts = [SOURCE]
    if network.coding == "latency":
        table = c_array("int32_t", "spike_step", spike_steps(network.num_steps))
        parts.append(Template(LATENCY).substitute(table=table, image_size=math.prod(network.input_shape)))
    for name, layer in zip(names, network.layers, strict=True):
        is_first = layer is network.layers[0]
        parts += _layer_parts(name, layer, is_first, is_first and network.coding == "constant")
    parts.append(_classify(network, names))
    return "\n".join(parts)


def c_array(kind: str, name: str, values: NDArray[np.integer]) -> str:
    """Return the definition of a constant array, of one axis or several."""
    axes = "".join(f"[{length}]" for length in values.shape)
    return f"static const {kind} {name}{axes} = {_braced(values)};"


def _braced(values: NDArray[np.integer]) -> str:
    parts = map(_braced, values) if values.ndim > 1 else _lines(values.tolist())
    return "{" + ",\n".join(parts) + "}"


def _lines(numbers: list[int]) -> Iterator[str]:
    """Yield numbers with commas between them, as many a line as it has room for."""
    per_line = WIDTH // (max(len(str(number)) for number in (min(numbers), max(numbers))) + len(", "))
    for start in range(0, len(numbers), per_line):
        yield ", ".join(map(str, numbers[start : start + per_line]))


def _num_bytes(members: Sequence[Member]) -> int:
    """Return the size of a struct whose members begin at multiples of their numbers' width: some chips pack closer."""
    end = 0
    for kind, _, length in members:
        width = BYTES[kind]
        end = -(-end // width) * width + width * length
    widest = max(BYTES[kind] for kind, *_ in members)
    return -(-end // widest) * widest


def _members(network: IntegerNetwork) -> Iterator[Member]:
    """Yield what the working memory holds."""
    in_steps = list(network.layers)
    if network.coding == "constant":
        yield "int32_t", "input_sums", math.prod(in_steps.pop(0).shape)
    else:
        yield "uint8_t", "input_spikes", math.prod(network.input_shape)
    if in_steps:
        yield "int32_t", "sums", max(math.prod(layer.shape) for layer in in_steps)
    if pooled := [layer for layer in network.layers if layer.layer.pooling]:
        yield "int32_t", "unpooled", max(math.prod(layer.projected_shape) for layer in pooled)
    for name, layer in zip(layer_names(len(network.layers)), network.layers, strict=True):
        num_neurons = math.prod(layer.shape)
        yield "int32_t", f"membrane_{name}", num_neurons
        yield "uint8_t", f"fired_{name}", num_neurons
        if layer.spike_delay:
            yield "uint8_t", f"leaving_{name}", num_neurons


def _layer_parts(name: str, layer: IntegerLayer, is_first: bool, sees_pixels: bool) -> Iterator[str]:
    """Yield a layer's numbers, its projection, its pooling where it has any, and its neurons."""
    is_convolution = isinstance(layer.layer.projection, Convolution)
    weights = _flipped_filters(layer) if is_convolution else _columns(layer, is_first)
    yield f"/* {_described(name, layer)} */\n"
    for kind, array, values in (
        ("int8_t", "weights", weights),
        ("int32_t", "bias", layer.bias),
        ("int32_t", "threshold", layer.threshold),
    ):
        yield c_array(kind, f"{array}_{name}", values) + "\n"
    filled = _common_values(name, layer) | {"weight": "inputs[i] * column[n]" if sees_pixels else "column[n]"}
    if is_convolution:
        yield Template(CONVOLUTION).substitute(filled | _convolution_values(layer, is_first))
    else:
        yield Template(DENSE).substitute(filled)
    if layer.layer.pooling:
        yield Template(POOLING).substitute(filled | _pooling_values(layer))
    delay = Template(DELAY).substitute(filled) if layer.spike_delay else ""
    yield Template(FIRE).substitute(filled, delay=delay, power=1 << layer.fraction_bits, multiplier=layer.multiplier)


def _columns(layer: IntegerLayer, is_first: bool) -> NDArray[np.int8]:
    """Return a dense layer's weights so that an input's are in a row, `[inputs, N]`, in the order of the inputs."""
    by_input = layer.weights.T
    if is_first or len(layer.input_shape) == 1:
        return by_input
    channel_first = by_input.reshape(*layer.input_shape, -1)
    return np.moveaxis(channel_first, 0, 2).reshape(by_input.shape)


def _flipped_filters(layer: IntegerLayer) -> NDArray[np.int8]:
    """Return what an input adds to the square of places that see it, `[input channels, kernel, kernel * C]`.

    The first place in the square sees it in the last place of its own: the filters are turned by half a circle.
    """
    num_filters, num_channels, kernel, _ = layer.weights.shape
    return layer.weights[:, :, ::-1, ::-1].transpose(1, 2, 3, 0).reshape(num_channels, kernel, kernel * num_filters)


def _described(name: str, layer: IntegerLayer) -> str:
    return f"{name}: sees {_product(layer.input_shape)}, has {_product(layer.shape)} neurons"


def _common_values(name: str, layer: IntegerLayer) -> dict[str, object]:
    return {
        "name": name,
        "num_inputs": math.prod(layer.input_shape),
        "num_projected": math.prod(layer.projected_shape),
        "num_neurons": math.prod(layer.shape),
        "num_channels": layer.shape[0],
    }


def _convolution_values(layer: IntegerLayer, is_first: bool) -> dict[str, object]:
    assert isinstance(layer.layer.projection, Convolution)
    _, kernel, padding = layer.layer.projection
    channels, height, width = layer.input_shape
    image_place = f"x = i % {width}, y = i / {width} % {height}, channel = i / {height * width}"
    place = f"channel = i % {channels}, x = i / {channels} % {width}, y = i / {channels * width}"
    return {
        "place": image_place if is_first else place,
        "reach": kernel - 1 - padding,
        "kernel": kernel,
        "height": layer.projected_shape[1],
        "width": layer.projected_shape[2],
    }


def _pooling_values(layer: IntegerLayer) -> dict[str, object]:
    pooling = layer.layer.pooling
    assert pooling is not None
    takes_largest = pooling.kind == "max"
    return {
        "pooled": "Takes the largest" if takes_largest else "Adds up each",
        "pool_one": LARGEST_ONE if takes_largest else SUM_ONE,
        "pool": pooling.size,
        "pooled_height": layer.shape[1],
        "pooled_width": layer.shape[2],
        "width": layer.projected_shape[2],
    }


def _classify(network: IntegerNetwork, names: Sequence[str]) -> str:
    """Return the function that is called."""
    better = BETTER[network.decoding]
    tallies = [tally for name, tally in TALLIES.items() if name in better]
    before, in_steps = _statements(network, names)
    clear = "".join(
        Template(CLEAR).substitute(name=name, num_neurons=math.prod(layer.shape))
        for name, layer in zip(names, network.layers, strict=True)
    )
    return Template(CLASSIFY).substitute(
        declared="".join(f"    {tally.declaration}\n" for tally in tallies),
        begin="".join(f"        {tally.begin}\n" for tally in tallies),
        clear=clear,
        before="".join(f"    {statement}\n" for statement in before),
        layers="".join(f"        {statement}\n" for statement in in_steps),
        output=_leaving(names[-1], network.layers[-1]),
        judge="".join(f"            {tally.judge}\n" for tally in tallies),
        better=better,
    )


def _statements(network: IntegerNetwork, names: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the calls before the first step, and those in each."""
    before: list[str] = []
    in_steps: list[str] = []
    if network.coding == "constant":
        before += _projection(names[0], network.layers[0], "image", "state->input_sums")
    else:
        in_steps.append("fire_input(image, step, state->input_spikes);")
    inputs = "state->input_spikes"
    for i, (name, layer) in enumerate(zip(names, network.layers, strict=True)):
        sums = "state->sums"
        if i == 0 and network.coding == "constant":
            sums = "state->input_sums"
        else:
            in_steps += _projection(name, layer, inputs, sums)
        inputs = f"state->{_leaving(name, layer)}"
        in_steps += [f"fire_{name}({sums}, state);", f"TRACE({i}, step, {inputs}, state->membrane_{name});"]
    return before, in_steps


def _projection(name: str, layer: IntegerLayer, inputs: str, sums: str) -> list[str]:
    """Return the calls that take a layer's inputs to what its neurons see."""
    if layer.layer.pooling is None:
        return [f"project_{name}({inputs}, {sums});"]
    return [f"project_{name}({inputs}, state->unpooled);", f"pool_{name}(state->unpooled, {sums});"]


def _leaving(name: str, layer: IntegerLayer) -> str:
    """Return the name of the spikes that leave a layer in a step."""
    return f"{'leaving' if layer.spike_delay else 'fired'}_{name}"


def _product(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))
