"""NIR, the Neuromorphic Intermediate Representation: the network as a graph that other libraries and chips read.

Pedersen et al., "Neuromorphic intermediate representation", Nature Communications 15, 2024. Its neuron is
`tau dv/dt = v_leak - v + r * current`, which in steps of `DT` is `v = beta * v + (1 - beta) * r * current` with
`beta = 1 - DT / tau`. Readers disagree about `r`; 1 is the only value that all of them take alike. The file's membrane
is therefore the network's times `1 - beta`, its threshold too, and its weights are the network's own, bit by bit.
"""

import io
import json
from collections.abc import Mapping
from itertools import pairwise

import nir
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from lifline.data.info import DatasetInfo
from lifline.errors import ModelError
from lifline.layers import Convolution
from lifline.params import NetworkParams
from lifline.snn.layer import SpikingLayer
from lifline.snn.network import SpikingNetwork

DT = 1e-4
"""Seconds of a step: what snnTorch and SpikingJelly take every file to have. Norse must be told."""

RESET = "subtract"
RESET_NOTE = (
    "by subtraction of the threshold in the next step, as snntorch.Leaky(reset_mechanism='subtract') does; NIR knows "
    "only a reset to v_reset"
)


def nir_metadata(params: NetworkParams, dataset: DatasetInfo, model_sha256: str = "") -> dict[str, str | int | float]:
    """Return what a NIR graph cannot say, for its metadata; `network` and `dataset` are JSON.

    How images enter is for whoever runs the graph: `coding` says how they did in training.
    """
    known: dict[str, str | int | float] = {
        "dt": DT,
        "num_steps": params.num_steps,
        "coding": params.coding,
        "decoding": params.decoding,
        "reset": RESET,
        "reset_note": RESET_NOTE,
        "network": json.dumps(params.model_dump(mode="json"), sort_keys=True),
        "dataset": json.dumps(dataset.model_dump(mode="json"), sort_keys=True),
    }
    return known | ({"model_sha256": model_sha256} if model_sha256 else {})


def to_nir(network: SpikingNetwork, metadata: Mapping[str, str | int | float]) -> nir.NIRGraph:
    """Write a network as a chain of NIR's nodes: Conv2d or Flatten and Affine, SumPool2d, LIF.

    Average pooling is SumPool2d with the threshold times the number of values summed: Norse leaves out whatever
    follows an AvgPool2d, without a word.

    Raises:
        ModelError: NIR, or one of its readers, has nothing for what the network does.
    """
    nodes: dict[str, nir.NIRNode] = {"input": nir.Input(input_type={"input": np.array(network.input_shape)})}
    for number, layer in enumerate(network.frozen().layers, 1):
        _check(layer, number)
        nodes |= {f"{kind}_{number}": node for kind, node in _nodes_of(layer).items()}
    nodes["output"] = nir.Output(output_type={"output": np.array(network.layers[-1].shape)})
    return nir.NIRGraph(nodes, list(pairwise(nodes)), metadata=dict(metadata))


def nir_bytes(graph: nir.NIRGraph) -> bytes:
    """Return what a graph's file holds, for `nir.read`; equal graphs give equal bytes."""
    content = io.BytesIO()
    nir.write(content, graph)
    return content.getvalue()


def tau_of(beta: float) -> float:
    """Return the time constant, in seconds, of a membrane that keeps `beta` of itself in a step of `DT`."""
    return DT / (1 - beta)


def _check(layer: SpikingLayer, number: int) -> None:
    neuron, pooling = layer.neuron, layer.layer.pooling
    if layer.plain_parameters() is None:
        raise ModelError(
            f"layer {number} is {type(layer.projection).__name__} with something put in place or around it; NIR takes "
            "projections as network.layers writes them"
        )
    if layer.has_seen_spikes():
        raise ModelError(
            f"spikes of layer {number} go through {type(layer.spikes).__name__} or a hook; allowed in NIR is Spikes() "
            "alone"
        )
    if pooling and pooling.kind == "max":
        raise ModelError(
            f"layer {number} has max pooling, MP{pooling.size}, for which NIR has no node; allowed is average pooling, "
            f"AP{pooling.size}"
        )
    if neuron.spike_delay:
        raise ModelError(
            f"network.spike_delay is {neuron.spike_delay}; allowed in NIR is 0: no reader takes its Delay node behind "
            "neurons"
        )
    if neuron.beta >= 1:
        raise ModelError(
            f"beta of layer {number} is {neuron.beta:g}; allowed in NIR is below 1: its time constant would be "
            "infinite, and readers take IF nodes for different neurons"
        )


def _nodes_of(layer: SpikingLayer) -> dict[str, nir.NIRNode]:
    weight, bias = (_array(parameter) for parameter in layer.plain_parameters() or ())
    nodes: dict[str, nir.NIRNode] = {}
    if isinstance(layer.layer.projection, Convolution):
        padding = (layer.layer.projection.padding,) * 2
        nodes["conv"] = nir.Conv2d(layer.input_shape[1:], weight, (1, 1), padding, (1, 1), 1, bias)
    else:
        if len(layer.input_shape) > 1:
            shape = {"input": np.array(layer.input_shape)}
            nodes["flatten"] = nir.Flatten(shape, start_dim=-len(layer.input_shape), end_dim=-1)  # with a batch or none
        nodes["affine"] = nir.Affine(weight, bias)
    summed = 1
    if pooling := layer.layer.pooling:
        window = np.array([pooling.size] * 2)
        nodes["pool"] = nir.SumPool2d(kernel_size=window, stride=window, padding=np.zeros_like(window))
        summed = pooling.size**2
    return nodes | {"lif": _lif_node(layer, summed)}


def _lif_node(layer: SpikingLayer, summed: int) -> nir.LIF:
    beta = layer.neuron.beta

    def each(value: float) -> NDArray[np.float64]:
        return np.full(layer.shape, value)

    return nir.LIF(
        tau=each(tau_of(beta)),
        r=each(1.0),
        v_leak=each(0.0),
        v_threshold=each(layer.neuron.threshold * (1 - beta) * summed),
        v_reset=each(0.0),
    )


def _array(parameter: Tensor) -> NDArray[np.float32]:
    array: NDArray[np.float32] = parameter.detach().float().cpu().numpy()
    return array
