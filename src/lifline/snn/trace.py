"""Every spike and membrane of a network: far more than training keeps."""

from typing import NamedTuple

import torch
from torch import Tensor

from lifline.snn.lif import lif
from lifline.snn.network import SpikingNetwork


class LayerTrace(NamedTuple):
    """What the neurons of a layer did, each `[T, B, N]`."""

    spikes: Tensor
    membrane: Tensor


def trace(network: SpikingNetwork, images: Tensor, generator: torch.Generator | None = None) -> list[LayerTrace]:
    """Show the network images, as `forward` does; returns its layers in order, the output last.

    From equal generators rate coding draws the same spikes here and there.
    """
    inputs, num_steps = network.encode(images, generator=generator)
    neuron = vars(network.neuron)
    first, *later = network.layers
    traces = [LayerTrace(*lif(first(inputs), num_steps=num_steps, **neuron))]
    for layer in later:
        traces.append(LayerTrace(*lif(layer(traces[-1].spikes), **neuron)))
    return traces
