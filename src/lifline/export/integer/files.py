"""The integer network's files: C99, and its numbers with a header that says all the rest."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import torch
from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError
from torch import Tensor

from lifline.choices import Decoding
from lifline.data.tensor_file import DamagedError, pack, unpack
from lifline.errors import ModelError
from lifline.export.integer.c_source import c_header, c_source
from lifline.export.integer.network import MULTIPLIER_BITS, IntegerCoding, IntegerLayer, IntegerNetwork
from lifline.export.integer.quantize import MAX_FRACTION_BITS
from lifline.layers import Convolution, Dense, HiddenLayer, LayersError, Shapes, parse_layers, shapes_of, write_layers

TENSORS = {"weights": torch.int8, "bias": torch.int32, "threshold": torch.int32}
"""Of each layer in `network.safetensors`, under its number and their names: `0.weights`."""


class _Layer(BaseModel):
    """What a layer's neurons are, beside their numbers."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    multiplier: Annotated[int, Field(ge=0, le=1 << MULTIPLIER_BITS)]
    fraction_bits: Annotated[int, Field(ge=0, le=MAX_FRACTION_BITS)]
    spike_delay: Annotated[int, Field(ge=0, le=1)]


class _Header(BaseModel):
    """What `network.safetensors` says of its numbers."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    layers: str
    """The hidden ones, as the field writes them."""

    input_shape: Annotated[tuple[PositiveInt, ...], Field(min_length=1, max_length=3)]
    num_classes: PositiveInt
    num_steps: Annotated[int, Field(ge=1, le=1_000_000)]
    coding: IntegerCoding
    decoding: Decoding
    neurons: tuple[_Layer, ...]
    """Of each layer, the output's last."""


def files(network: IntegerNetwork) -> dict[str, bytes]:
    """Return what is exported, by the files' names; equal networks give equal bytes."""
    return {
        "network.h": c_header(network).encode(),
        "network.c": c_source(network).encode(),
        "network.safetensors": _packed(network),
    }


def load_integer_network(path: Path) -> IntegerNetwork:
    """Rebuild an integer network from its `network.safetensors` alone.

    Raises:
        ModelError: the file is missing, damaged, or holds no integer network whose membranes are proven to fit.
    """
    try:
        tensors, header, _ = unpack(path)
        network = _rebuilt(_Header.model_validate(header), tensors)
    except FileNotFoundError:
        raise ModelError(f"{path} is missing; `dvc repro export` makes it") from None
    except (ValidationError, LayersError):
        raise ModelError(f"{path} is no integer network of this version of lifline: its header is another") from None
    except DamagedError as error:
        raise ModelError(f"{path} is damaged: {error}") from None
    if (overflowing := network.overflowing_layer()) is not None:
        raise ModelError(f"{path} is not safe to run: membranes of {overflowing} might outgrow 32 bits")
    return network


def _packed(network: IntegerNetwork) -> bytes:
    header = _Header(
        layers=write_layers(layer.layer for layer in network.layers[:-1]),
        input_shape=network.input_shape,
        num_classes=len(network.layers[-1].bias),
        num_steps=network.num_steps,
        coding=network.coding,
        decoding=network.decoding,
        neurons=tuple(
            _Layer(multiplier=layer.multiplier, fraction_bits=layer.fraction_bits, spike_delay=layer.spike_delay)
            for layer in network.layers
        ),
    )
    tensors = {
        f"{i}.{name}": torch.from_numpy(getattr(layer, name))
        for i, layer in enumerate(network.layers)
        for name in TENSORS
    }
    return pack(tensors, header.model_dump(mode="json"))


def _rebuilt(header: _Header, tensors: dict[str, Tensor]) -> IntegerNetwork:
    hidden, shapes_of_hidden = parse_layers(header.layers), shapes_of(header.layers, header.input_shape)
    layers = [*hidden, HiddenLayer(Dense(header.num_classes))]
    shapes = [*shapes_of_hidden, Shapes((header.num_classes,), (header.num_classes,))]
    expected = {f"{i}.{name}" for i in range(len(layers)) for name in TENSORS}
    if len(header.neurons) != len(layers) or set(tensors) != expected:
        raise DamagedError("it has not the numbers of each of its layers")
    input_shape, rebuilt = header.input_shape, []
    for i, (layer, shape, neurons) in enumerate(zip(layers, shapes, header.neurons, strict=True)):
        _check(i, layer, input_shape, tensors)
        weights, bias, threshold = (tensors[f"{i}.{name}"].numpy() for name in TENSORS)
        made = IntegerLayer(
            layer, input_shape, shape.projected, shape.neurons,
            weights, bias, threshold, neurons.multiplier, neurons.fraction_bits, neurons.spike_delay,
        )  # fmt: skip
        rebuilt.append(made)
        input_shape = shape.neurons
    return IntegerNetwork(tuple(rebuilt), header.num_steps, header.coding, header.decoding)


def _check(number: int, layer: HiddenLayer, input_shape: Sequence[int], tensors: dict[str, Tensor]) -> None:
    """Check that a layer's numbers have the shapes and types that they should have."""
    projection = layer.projection
    if isinstance(projection, Convolution):
        weight_shape = [projection.num_filters, input_shape[0], projection.kernel, projection.kernel]
    else:
        weight_shape = [projection.num_neurons, math.prod(input_shape)]
    for name, dtype in TENSORS.items():
        tensor, shape = tensors[f"{number}.{name}"], weight_shape if name == "weights" else weight_shape[:1]
        if (tensor.dtype, list(tensor.shape)) != (dtype, shape):
            raise DamagedError(f"{number}.{name} is {tensor.dtype} {list(tensor.shape)}, allowed is {dtype} {shape}")
