"""Operation counts and sparsities in NeuroBench's terms: what a network does for an image, and what it leaves out.

Yik et al., The neurobench framework for benchmarking neuromorphic computing, Nature Communications 16, 2025.
"""

import math
from collections.abc import Sequence
from itertools import chain
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import conv_transpose2d

from lifline.evaluation.report import Operations
from lifline.layers import Dense
from lifline.snn.layer import SpikingLayer
from lifline.snn.network import SpikingNetwork


class Synapses(NamedTuple):
    """What connects a layer to what comes before it."""

    fan_out: Tensor
    """Of each input: how many synapses a spike reaches, int64 `[N]`; fewer at edges."""

    fan_out_not_zero: Tensor
    """Those of them whose weight is not 0, int64 `[N]`."""

    num_weights: int
    num_weights_not_zero: int
    num_sums: int
    """Outputs of the projection, before pooling."""

    num_neurons: int


class Activity(NamedTuple):
    """Of pixels, or of a layer's neurons, over all images."""

    counts: Tensor
    """How often each was not 0, over all steps or, where it stays the same, once an image; int64 `[N]`."""

    active: Tensor
    """For how many images each was not 0 at some step, int64 `[N]`."""


class LayerWork(NamedTuple):
    """What a layer does for an image."""

    sees_image: bool
    """A constant one, so that its products are computed once; else it sees spikes at each step."""

    num_inputs: int
    num_weights: int
    num_sums: int
    num_neurons: int
    dense: int
    """Synapses of all inputs, each as often as it is used in a step."""

    effective: float
    """Synapses that inputs reach that are not 0, over all steps; the mean over images."""

    active: float
    """Synapses of inputs that are not 0 at some step, each once; the mean over images."""


def synapses_of(layer: SpikingLayer) -> Synapses:
    """Count the synapses of a layer; a module that another put in its place counts as what layers say."""
    written, projected = layer.layer.projection, layer.projected_shape
    num_weights = (
        written.num_neurons * math.prod(layer.input_shape)
        if isinstance(written, Dense)
        else written.num_filters * layer.input_shape[0] * written.kernel**2
    )
    fan_out = layer.fan_out().flatten()
    is_not_zero = _weights_not_zero(layer.projection)
    return Synapses(
        fan_out,
        fan_out if is_not_zero is None else _reached(layer, is_not_zero),
        num_weights,
        num_weights if is_not_zero is None else int(is_not_zero.sum()),
        math.prod(projected),
        math.prod(layer.shape),
    )


def work_of(
    synapses: Sequence[Synapses], activities: Sequence[Activity], num_images: int, sees_image: bool
) -> list[LayerWork]:
    """Return what each layer does for an image, the mean over images; activities are those of each layer's inputs."""
    return [
        LayerWork(
            sees_image and i == 0,
            len(layer.fan_out),
            layer.num_weights,
            layer.num_sums,
            layer.num_neurons,
            int(layer.fan_out.sum()),
            int((activity.counts * layer.fan_out).sum()) / num_images,
            int((activity.active * layer.fan_out).sum()) / num_images,
        )
        for i, (layer, activity) in enumerate(zip(synapses, activities, strict=True))
    ]


def footprint(network: SpikingNetwork) -> int:
    """Return the bytes of all that a network keeps of its training."""
    return sum(each.numel() * each.element_size() for each in chain(network.parameters(), network.buffers()))


def count_operations(
    synapses: Sequence[Synapses],
    activities: Sequence[Activity],
    num_images: int,
    num_steps: int,
    sees_image: bool,
    num_bytes: int,
) -> Operations:
    """Count as NeuroBench's harness does.

    Args:
        synapses: of each layer.
        activities: of the pixels and of each layer, the output's last.
        num_images: over which those were counted.
        num_steps: T.
        sees_image: whether the first layer sees a constant image, once: its operations are multiply-accumulates then.
        num_bytes: the footprint.
    """
    effective = [
        int((activity.counts * layer.fan_out_not_zero).sum())
        for layer, activity in zip(synapses, activities[:-1], strict=True)
    ]
    dense = [int(layer.fan_out.sum()) * num_steps for layer in synapses]
    if sees_image:
        dense[0] //= num_steps
    num_macs, num_weights = effective[0] if sees_image else 0, sum(layer.num_weights for layer in synapses)
    num_spikes = sum(int(activity.counts.sum()) for activity in activities[1:])
    num_neurons = sum(layer.num_neurons for layer in synapses)
    return Operations(
        footprint_bytes=num_bytes,
        connection_sparsity=1 - sum(layer.num_weights_not_zero for layer in synapses) / num_weights,
        activation_sparsity=1 - num_spikes / (num_neurons * num_steps * num_images),
        effective_macs=num_macs / num_images,
        effective_acs=(sum(effective) - num_macs) / num_images,
        dense=sum(dense),
    )


def _weights_not_zero(projection: nn.Module) -> Tensor | None:
    """Where the weights are not 0; None for a module that has other weights than a layer's."""
    if not isinstance(projection, nn.Linear | nn.Conv2d):
        return None
    return (projection.weight.detach() != 0).cpu()


def _reached(layer: SpikingLayer, weights: Tensor) -> Tensor:
    """Return how many of the weights `[N, ...]` each input meets, int64 `[N]`, flattened."""
    if isinstance(layer.layer.projection, Dense):
        return weights.sum(0)
    once_each = torch.ones(1, *layer.projected_shape, dtype=torch.float64)
    reached = conv_transpose2d(once_each, weights.double(), padding=layer.layer.projection.padding)
    return reached.round().long().flatten()
