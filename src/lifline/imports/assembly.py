"""Layers that were read from somewhere become a model."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from pydantic import ValidationError
from torch import Tensor

from lifline.data.info import DatasetInfo
from lifline.errors import ModelError
from lifline.imports.limits import shortened
from lifline.layers import Convolution, Dense, HiddenLayer, LayersError, Pooling, shapes_of, write_layers
from lifline.models.model import Model, new_network
from lifline.params import NetworkParams


class ReadLayer(NamedTuple):
    """A layer as it was read."""

    where: str
    """What the source calls its projection."""

    projection: Dense | Convolution
    pooling: Pooling | None
    weight: Tensor
    """`[N, inputs]`, or of a convolution `[C, inputs, kernel, kernel]`."""

    bias: Tensor | None
    beta: float
    threshold: float


def assemble(layers: Sequence[ReadLayer], params: NetworkParams, dataset: DatasetInfo, name: str) -> Model:
    """Make a model of layers that were read.

    Args:
        layers: the output's last.
        params: what layers do not say: steps, coding, decoding.
        dataset: of whose kind the images are.
        name: of the source, for messages.

    Raises:
        ModelError: the layers do not follow on one another, or do not fit the images.
    """
    if not layers or not isinstance(layers[-1].projection, Dense):
        raise ModelError(f"{name} does not end with neurons that see all before them; allowed is an output layer")
    if len(layers) == 1:
        raise ModelError(f"{name} has no hidden layer; allowed is one or more before the output's")
    written = write_layers(HiddenLayer(layer.projection, layer.pooling) for layer in layers[:-1])
    _check_shapes(layers, written, dataset, name)
    described = _described(layers, written, params, name)
    network = new_network(described, dataset, seed=0)
    with torch.no_grad():
        for layer, read in zip(network.layers, layers, strict=True):
            weight, bias = layer.projection.weight, layer.projection.bias
            assert isinstance(weight, Tensor)
            assert isinstance(bias, Tensor)
            weight.copy_(read.weight)
            bias.copy_(torch.zeros_like(bias) if read.bias is None else read.bias)
    return Model(network.eval().requires_grad_(False), described, dataset)


def _check_shapes(layers: Sequence[ReadLayer], written: str, dataset: DatasetInfo, name: str) -> None:
    """Check that weights are as large as their layers, before a network of that size is made."""
    try:
        shapes = shapes_of(written, dataset.shape)
    except LayersError as error:
        raise ModelError(f"{name}: what its layers make {error}") from None
    num_classes = len(dataset.class_names)
    seen = [dataset.shape, *(each.neurons for each in shapes)]
    for layer, shape in zip(layers, seen, strict=True):
        projection = layer.projection
        if isinstance(projection, Dense):
            expected = [projection.num_neurons, math.prod(shape)]
        else:
            expected = [projection.num_filters, shape[0], projection.kernel, projection.kernel]
        if list(layer.weight.shape) != expected:
            raise ModelError(
                f"{name}: the weight of {shortened(layer.where)} is {list(layer.weight.shape)}; allowed for {written} "
                f"and images of {' x '.join(map(str, dataset.shape))} is {expected}"
            )
        if layer.bias is not None and list(layer.bias.shape) != expected[:1]:
            raise ModelError(
                f"{name}: the bias of {shortened(layer.where)} is {list(layer.bias.shape)}; allowed is {expected[:1]}"
            )
        for tensor in (layer.weight, layer.bias):
            if tensor is not None and not torch.isfinite(tensor).all():
                raise ModelError(f"{name}: {shortened(layer.where)} holds what is not a finite number")
    if layers[-1].weight.shape[0] != num_classes:
        raise ModelError(
            f"{name} has {layers[-1].weight.shape[0]} output neurons; allowed for {dataset.title} are {num_classes}"
        )


def _described(layers: Sequence[ReadLayer], written: str, params: NetworkParams, name: str) -> NetworkParams:
    betas, thresholds = [layer.beta for layer in layers], [layer.threshold for layer in layers]
    known = {
        "layers": written,
        "beta": _one_if_alike(betas),
        "threshold": _one_if_alike(thresholds),
        "learn_beta": False,
        "spike_delay": 0,  # what it was read from has none
    }
    try:
        return NetworkParams.model_validate(params.model_dump() | known)
    except ValidationError as error:
        [problem, *_] = error.errors()
        raise ModelError(
            f"{name}: {problem['loc'][0]} is {problem['input']!r}; {problem['msg'][:1].lower()}{problem['msg'][1:]}"
        ) from None


def _one_if_alike(values: list[float]) -> float | list[float]:
    return values[0] if len(set(values)) == 1 else values
