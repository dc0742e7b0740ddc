"""Every spike and membrane of a network: far more than training keeps."""

from typing import NamedTuple

import torch
from torch import Tensor

from lifline.snn.network import SpikingNetwork


class LayerTrace(NamedTuple):
    """What the neurons of a layer did, each `[T, B, *shape]`, where a shape is `(N,)` or `(C, H, W)`."""

    spikes: Tensor
    membrane: Tensor


def trace(network: SpikingNetwork, images: Tensor, generator: torch.Generator | None = None) -> list[LayerTrace]:
    """Show the network images, as `forward` does; returns its layers in order, the output last.

    From equal generators rate coding draws the same spikes here and there.
    """
    inputs, num_steps = network.encode(images, generator=generator)
    traces = []
    for layer in network.layers:
        traces.append(LayerTrace(*layer.fire(layer(inputs), num_steps)))
        inputs, num_steps = traces[-1].spikes, None
    return traces
