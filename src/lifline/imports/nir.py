"""A network from a NIR file, which lifline or another library wrote."""

import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ValidationError
from torch import Tensor

from lifline.data.info import DatasetInfo
from lifline.errors import ModelError
from lifline.export.nir import DT, RESET
from lifline.imports.assembly import ReadLayer, assemble
from lifline.imports.hdf5 import read_tree
from lifline.imports.limits import shortened
from lifline.layers import Convolution, Dense, Pooling
from lifline.models.model import Model
from lifline.params import NetworkParams

KINDS = ("Affine", "Linear", "Conv2d", "AvgPool2d", "SumPool2d", "Flatten", "LIF", "Input", "Output")
MAX_DIGITS = 17
"""That tell a float64."""

ROUNDINGS = 4
"""Of its type by which a number in a file may be off where another library computed it."""

Node = Mapping[str, Any]


class _Neuron(NamedTuple):
    beta: float
    threshold: float


def read_nir(
    content: bytes, name: str, params: NetworkParams, dataset: DatasetInfo | None, resets_by_subtraction: bool = False
) -> Model:
    """Read a NIR file; nothing else is read, and no code in it is run.

    Args:
        content: of the file.
        name: how messages call it.
        params: for steps, coding, decoding and surrogate of a file that does not say them; those of lifline's do.
        dataset: of whose kind the images are, likewise.
        resets_by_subtraction: whether the neurons of a file that does not say so do; NIR's own reset to `v_reset`.

    Raises:
        ModelError: the file is damaged or malicious, or is no network that lifline can run as it is meant.
    """
    graph = read_tree(content, name).get("node")
    if not (isinstance(graph, dict) and _text(graph, "type") == "NIRGraph" and isinstance(graph.get("nodes"), dict)):
        raise ModelError(f"{name} holds no NIR graph")
    metadata = graph.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    if _text(metadata, "reset") != RESET and not resets_by_subtraction:
        raise ModelError(
            f"{name} does not say how its neurons reset; NIR's own go to v_reset, lifline's are reset by subtraction: "
            "--reset subtract reads them as such, if they were trained so"
        )
    described = _described(NetworkParams, metadata, "network", name) or params
    images = _described(DatasetInfo, metadata, "dataset", name) or dataset
    if images and not images.is_printable():
        raise ModelError(f"{name}: a name in its metadata's dataset cannot be printed")
    if images is None:
        raise ModelError(
            f"{name} does not say what its images are, and there is no data set here; `dvc repro download`"
        )
    dt = float(_one(metadata, "dt", name)) if "dt" in metadata else DT
    layers = _Reading(_chain(graph, name), dt, name).layers()
    return assemble(layers, described, images, name)


def _chain(graph: Node, name: str) -> list[tuple[str, Node]]:
    """Return the nodes from input to output, one after another."""
    nodes, edges = graph["nodes"], graph.get("edges")
    for key, node in nodes.items():
        kind = _text(node, "type") if isinstance(node, dict) else ""
        if kind not in KINDS:
            raise ModelError(f"{name}: node {shortened(key)} is {shortened(kind)}; allowed are {', '.join(KINDS)}")
    if not isinstance(edges, list) or not all(isinstance(edge, list) and len(edge) == 2 for edge in edges):  # noqa: PLR2004
        raise ModelError(f"{name} has no edges between its nodes")
    following, before = dict(edges), {end: start for start, end in edges}
    starts = [key for key, node in nodes.items() if _text(node, "type") == "Input"]
    if len(starts) != 1 or len(following) != len(edges) or len(before) != len(edges) or len(edges) != len(nodes) - 1:
        raise ModelError(f"{name} is no chain: allowed is one input, and one node behind each other")
    found = [starts[0]]
    while (key := following.get(found[-1])) is not None and len(found) < len(nodes):
        if key not in nodes:
            raise ModelError(f"{name} has an edge to {shortened(key)}, which is no node")
        found.append(key)
    if len(found) != len(nodes) or _text(nodes[found[-1]], "type") != "Output":
        raise ModelError(f"{name} is no chain: allowed is one node behind each other, from an Input to an Output")
    return [(key, nodes[key]) for key in found[1:-1]]


class _Reading:
    """Goes along the chain; each projection with its pooling and its neurons is a layer."""

    def __init__(self, chain: list[tuple[str, Node]], dt: float, name: str) -> None:
        self.rest, self.dt, self.name = chain, dt, name

    def layers(self) -> list[ReadLayer]:
        layers = []
        while self.rest:
            if flatten := self._take("Flatten"):
                self._check_flatten(*flatten)
            key, node = self._take("Affine", "Linear", "Conv2d") or self._refuse("a projection")
            pool = self._take("AvgPool2d", "SumPool2d") if node["type"] == "Conv2d" else None
            pooling = self._pooling(*pool) if pool else None
            summed = pooling.size**2 if pool and pooling and pool[1]["type"] == "SumPool2d" else 1
            neuron = self._neuron(*(self._take("LIF") or self._refuse("LIF")), summed)
            weight = self._array(key, node, "weight")
            bias = None if node["type"] == "Linear" else _tensor(self._array(key, node, "bias"))
            projection = self._convolution(key, node) if node["type"] == "Conv2d" else self._dense(key, weight)
            layers.append(ReadLayer(key, projection, pooling, _tensor(weight), bias, *neuron))
        return layers

    def _take(self, *kinds: str) -> tuple[str, Node] | None:
        if not self.rest or self.rest[0][1]["type"] not in kinds:
            return None
        return self.rest.pop(0)

    def _refuse(self, allowed: str) -> tuple[str, Node]:
        found = f"node {self.rest[0][0]!r} is {self.rest[0][1]['type']}" if self.rest else "the graph ends"
        raise ModelError(f"{self.name}: {found} where {allowed} is allowed")

    def _check_flatten(self, key: str, node: Node) -> None:
        ends = _one(node, "start_dim", self.name), _one(node, "end_dim", self.name)
        if ends not in ((0, -1), (1, -1), (-3, -1)):  # (1, -1): of libraries that count the batch
            raise ModelError(
                f"{self.name}: node {shortened(key)}, Flatten, is from {ends[0]} to {ends[1]}; allowed is all axes"
            )

    def _dense(self, key: str, weight: NDArray[Any]) -> Dense:
        if weight.ndim != 2:  # noqa: PLR2004
            raise ModelError(
                f"{self.name}: the weight of {shortened(key)} is {list(weight.shape)}; allowed are two axes"
            )
        return Dense(weight.shape[0])

    def _convolution(self, key: str, node: Node) -> Convolution:
        shape = self._array(key, node, "weight").shape
        if len(shape) != 4 or shape[2] != shape[3]:  # noqa: PLR2004
            raise ModelError(
                f"{self.name}: the weight of {shortened(key)} is {list(shape)}; allowed is a square kernel"
            )
        for field, allowed in (("stride", 1), ("dilation", 1), ("groups", 1)):
            if self._same(key, node, field) != allowed:
                raise ModelError(
                    f"{self.name}: {field} of {shortened(key)}, Conv2d, is not {allowed}, which alone is allowed"
                )
        if _text(node, "padding") == "valid":
            return Convolution(shape[0], shape[2])
        return Convolution(shape[0], shape[2], self._same(key, node, "padding"))

    def _pooling(self, key: str, node: Node) -> Pooling:
        size = self._same(key, node, "kernel_size")
        if self._same(key, node, "stride") != size or self._same(key, node, "padding") != 0 or size < 1:
            raise ModelError(
                f"{self.name}: node {shortened(key)} pools squares that overlap or are padded; allowed are others"
            )
        return Pooling("average", size)

    def _same(self, key: str, node: Node, field: str) -> int:
        """Read one or two whole numbers that are alike."""
        values = np.unique(self._array(key, node, field))
        if len(values) != 1 or values.dtype.kind not in "iu":
            raise ModelError(
                f"{self.name}: {field} of {shortened(key)} is not the same whole number in height and width"
            )
        return int(values[0])

    def _neuron(self, key: str, node: Node, summed: int) -> _Neuron:
        """Read beta and threshold of neurons that are all alike, as the shortest numbers that give the file's."""
        tau, resistance, threshold, leak = (
            self._alike(key, node, field) for field in ("tau", "r", "v_threshold", "v_leak")
        )
        if leak != 0 or ("v_reset" in node and self._alike(key, node, "v_reset") != 0):
            raise ModelError(
                f"{self.name}: neurons of {shortened(key)} have v_leak or v_reset other than 0, which alone is allowed"
            )
        if not tau >= self.dt > 0 or resistance <= 0:
            raise ModelError(
                f"{self.name}: neurons of {shortened(key)} have tau {tau:g} and r {resistance:g}; allowed are tau from "
                f"the step, {self.dt:g}, on, and r above 0"
            )
        epsilon = ROUNDINGS * max(_epsilon(node, field) for field in ("tau", "r", "v_threshold"))
        beta = _shortest(1 - self.dt / tau, lambda beta: beta < 1 and _is_near(self.dt / (1 - beta), tau, epsilon))
        scale = resistance * (1 - beta) * summed
        if scale <= 0:
            raise ModelError(
                f"{self.name}: neurons of {shortened(key)} have tau {tau:g} and r {resistance:g}, whose membrane a "
                f"step of {self.dt:g} does not change"
            )
        return _Neuron(beta, _shortest(threshold / scale, lambda value: _is_near(value * scale, threshold, epsilon)))

    def _alike(self, key: str, node: Node, field: str) -> float:
        values = np.unique(self._array(key, node, field))
        if len(values) != 1:
            raise ModelError(
                f"{self.name}: {field} differs between neurons of {shortened(key)}; allowed is one for a layer"
            )
        return float(values[0])

    def _array(self, key: str, node: Node, field: str) -> NDArray[Any]:
        value = node.get(field)
        if not isinstance(value, np.ndarray) or value.size == 0:
            raise ModelError(f"{self.name}: node {shortened(key)} has no {field}")
        return value


def _described(kind: type[BaseModel], metadata: Node, key: str, name: str) -> Any:
    """Read what a file of lifline's says of itself; nothing where it does not."""
    if not (text := _text(metadata, key)):
        return None
    try:
        return kind.model_validate(json.loads(text))
    except (ValidationError, ValueError, RecursionError):
        raise ModelError(f"{name}: its metadata's {key} is not of this version of lifline") from None


def _text(node: Node, key: str) -> str:
    value = node.get(key)
    return value if isinstance(value, str) else ""


def _one(node: Node, key: str, name: str) -> Any:
    value = node.get(key)
    if not isinstance(value, np.ndarray) or value.size != 1:
        raise ModelError(f"{name}: {key} is missing, or not one number")
    return value.item()


def _tensor(array: NDArray[Any]) -> Tensor:
    with np.errstate(over="ignore"):  # what becomes infinite is refused later
        return torch.from_numpy(array.astype(np.float32))


def _epsilon(node: Node, field: str) -> float:
    kind = node[field].dtype
    return float(np.finfo(kind if kind.kind == "f" else np.float64).eps)


def _is_near(found: float, expected: float, epsilon: float) -> bool:
    return abs(found - expected) <= epsilon * abs(expected)


def _shortest(value: float, fits: Callable[[float], bool]) -> float:
    """Return the shortest decimal that fits, else the value itself."""
    decimals = (float(f"{value:.{digits}g}") for digits in range(1, MAX_DIGITS + 1))
    return next((decimal for decimal in decimals if fits(decimal)), value)
