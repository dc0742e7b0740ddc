"""A trace whose steps are one loop, which exports as ONNX's Scan: the graph is as large for any number of steps."""

import torch
from torch import Tensor
from torch._higher_order_ops.scan import scan

from lifline.snn.layer import SpikingLayer
from lifline.snn.network import SpikingNetwork
from lifline.snn.surrogate import fire

State = tuple[Tensor, Tensor]
"""Of a layer's neurons between two steps: membrane and spikes, each `[B, *shape]`."""


def trace_in_loop(network: SpikingNetwork, images: Tensor) -> tuple[list[Tensor], Tensor]:
    """Show a network images, as `lifline.snn.trace` does, layer after layer, and run each one's neurons in a loop.

    Returns:
        The spikes of each layer in order, the output last, and the output's membrane, each `[T, B, *shape]`.
    """
    inputs, num_steps = network.encode(images)
    *hidden, output = network.layers
    spikes = []
    for layer in hidden:
        (inputs,) = _fire(layer, layer(inputs), num_steps, with_membrane=False)
        spikes.append(inputs)
        num_steps = None  # from here on each step has a current of its own
    output_spikes, membrane = _fire(output, output(inputs), num_steps, with_membrane=True)
    return [*spikes, output_spikes], membrane


def _fire(layer: SpikingLayer, current: Tensor, num_steps: int | None, with_membrane: bool) -> tuple[Tensor, ...]:
    """Return spikes, and membrane if asked for, as `layer.fire` does: `snn/reference.py`, operation by operation.

    What is not asked for would be stacked nevertheless: ONNX Runtime computes all that a Scan gives.
    """
    neuron = layer.neuron

    def step(state: State, scanned: Tensor) -> tuple[State, tuple[Tensor, ...]]:
        membrane, before = state
        now, threshold = (scanned, neuron.threshold) if num_steps is None else (current, scanned)
        membrane = neuron.beta * membrane + now - threshold * before  # decay, charge, reset
        spike = fire(membrane - neuron.threshold, neuron.surrogate)
        given = [before if neuron.spike_delay == 1 else spike, membrane][: 1 + with_membrane]
        return (membrane, spike), tuple(each.clone() for each in given)  # no output may be a state, too

    silent = torch.zeros_like(current[0] if num_steps is None else current)
    # A Scan needs what changes by the step, and tract that it is used: where the current does not, the threshold does.
    each_step = current if num_steps is None else torch.full((num_steps,), neuron.threshold)
    _, given = scan(step, (silent, silent.clone()), each_step)
    return (layer.spikes(given[0]), *given[1:])
