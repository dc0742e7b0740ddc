"""Every spike and membrane of a network: far more than training keeps."""

from typing import NamedTuple

from torch import Tensor

from lifline.snn.lif import lif
from lifline.snn.network import SpikingNetwork


class LayerTrace(NamedTuple):
    """What the neurons of a layer did, each `[T, B, N]`."""

    spikes: Tensor
    membrane: Tensor


def trace(network: SpikingNetwork, images: Tensor) -> list[LayerTrace]:
    """Show the network images `[B, num_inputs]` at each of its steps; returns its layers in order, the output last."""
    first, *later = network.layers
    traces = [LayerTrace(*lif(first(images), num_steps=network.num_steps, **network.neuron))]
    for layer in later:
        traces.append(LayerTrace(*lif(layer(traces[-1].spikes), **network.neuron)))
    return traces
