"""ONNX: the network as a file that needs no Python of ours, and the proof that it equals the network."""

import json
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lifline.choices import IMAGE, SPIKE_TRAIN, Coding, Decoding
from lifline.data.images import LabelledImages
from lifline.data.info import DatasetInfo
from lifline.export.proof import verdict
from lifline.export.scan import trace_in_loop
from lifline.layers import layer_names
from lifline.models.model import run_over
from lifline.params import Params
from lifline.snn.decoding import decode
from lifline.snn.network import Record, SpikingNetwork
from lifline.snn.trace import trace
from lifline.system.files import sha256_of_bytes

OPSET, IR_VERSION = 18, 8
"""ONNX's versions that ONNX Runtime reads from 1.15 on."""

MAX_UNROLLED_STEPS = 25
"""Up to here each step has nodes of its own, which every runtime knows; more steps are a Scan, as large for any number.

ONNX Runtime is as fast with one as with the other, from 5 steps on (benchmarks/NOTES.md).
"""

SEAL = "sha256"
BATCH = "batch"
"""The name of the axis that has any length."""

OUTPUT_NAMES = ["spikes", "membrane", "class"]
"""Before those of the hidden layers, `hidden_1` and so on."""


class Comparison(NamedTuple):
    """How far ONNX Runtime and the network disagree over a set of images."""

    images: int
    class_mismatches: int
    spike_mismatches: int
    spikes_compared: int
    largest_membrane_difference: float

    def describe(self) -> str:
        """The comparison in a line."""
        spikes = f"{self.spike_mismatches:,} of {self.spikes_compared:,} spikes"
        membranes = f"output membranes by up to {self.largest_membrane_difference:.2g}"
        if self.class_mismatches:
            return (
                f"ONNX Runtime and the network differ in class on {self.class_mismatches:,} of {self.images:,} images, "
                f"in {spikes}, in {membranes}"
            )
        return f"equal classes on {self.images:,} images in ONNX Runtime; {spikes} differ, {membranes}"

    def verdict(self) -> str:
        """What it proves, for a screen."""
        return verdict(self.class_mismatches, self.images, f"in ONNX Runtime {onnxruntime.__version__}")


class _Classifier(nn.Module):
    """The network from images to classes; spikes, membrane, class and hidden spikes come out."""

    def __init__(self, network: SpikingNetwork, decoding: Decoding) -> None:
        super().__init__()
        self.network = network
        self.decoding = decoding

    def forward(self, inputs: Tensor) -> tuple[Tensor, ...]:
        if self.network.num_steps > MAX_UNROLLED_STEPS:
            (*hidden, spikes), membrane = trace_in_loop(self.network, inputs)
        else:
            *layers, (spikes, membrane) = trace(self.network, inputs)
            hidden = [layer.spikes for layer in layers]
        decided = decode(Record(spikes, membrane, hidden_counts=[]), self.decoding)
        return spikes, membrane, decided, *hidden


def input_name(coding: Coding) -> str:
    """Return the name of what an exported network is shown."""
    return SPIKE_TRAIN if coding == "rate" else IMAGE


def onnx_metadata(params: Params, dataset: DatasetInfo, model_sha256: str, test_accuracy: float) -> dict[str, object]:
    """Return what an exported network's file says of it; in `dataset` are class names, by the number decided."""
    return {
        "params": params.flat(),
        "model_sha256": model_sha256,
        "test_accuracy": test_accuracy,
        "dataset": dataset.model_dump(mode="json"),
        "coding": params.network.coding,
    }


def to_onnx(network: SpikingNetwork, decoding: Decoding, metadata: Mapping[str, object]) -> onnx.ModelProto:
    """Export a network, with `metadata` in the file as JSON values.

    Input `image`: float32 `[batch, C, H, W]` in [0, 1]; of a network whose images are coded by rate, `spike_train`:
    float32 0 or 1, `[T, batch, C, H, W]`, since ONNX Runtime draws no numbers that others can repeat. Outputs `spikes`
    and `membrane`: float32 `[T, batch, classes]`; `class`: int64 `[batch]`; `hidden_1` and so on, each hidden layer's
    spikes: float32 `[T, batch, neurons]`, or behind a convolution `[T, batch, C, H, W]`. ONNX Runtime reads it from
    1.15 on.

    Equal networks give equal bytes. The last of them are the metadata's entry `sha256`, the SHA-256 of all bytes
    before that entry, in hexadecimal: a file that was damaged is known by it.
    """
    name = input_name(network.coding)
    classifier = _Classifier(network.frozen(), decoding).eval()
    steps = [network.num_steps] if name == SPIKE_TRAIN else []
    example = torch.zeros(*steps, 2, *network.input_shape)
    with _quietly():
        program = torch.onnx.export(
            classifier,
            (example,),
            dynamo=True,
            opset_version=OPSET,
            input_names=[name],
            output_names=_output_names(network),
            dynamic_shapes={"inputs": {len(steps): torch.export.Dim(BATCH)}},
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    model.ir_version = IR_VERSION
    _forget_origins(model.graph)
    onnx.helper.set_model_props(model, {key: json.dumps(value) for key, value in metadata.items()})
    _seal(model)
    onnx.checker.check_model(model, full_check=True)
    return model


def compare_with_network(
    model: onnx.ModelProto, network: SpikingNetwork, decoding: Decoding, data: LabelledImages
) -> Comparison:
    """Run the exported model in ONNX Runtime over all images, and the network beside it, on the CPU."""
    name = input_name(network.coding)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    class_mismatches = spike_mismatches = spikes_compared = 0
    largest_difference = 0.0
    for images, inputs, record, _ in run_over(network, data):
        shown = inputs if name == SPIKE_TRAIN else images
        spikes, membrane, decided, *hidden = session.run(_output_names(network), {name: shown.numpy()})
        with torch.no_grad():
            expected_hidden = [layer.spikes for layer in trace(network, shown)[:-1]]
        class_mismatches += int((decided != decode(record, decoding).numpy()).sum())
        for found, expected in zip([spikes, *hidden], [record.spikes, *expected_hidden], strict=True):
            spike_mismatches += int((found != expected.numpy()).sum())
            spikes_compared += found.size
        largest_difference = max(largest_difference, _largest_difference(membrane, record.membrane.numpy()))
    return Comparison(len(data.labels), class_mismatches, spike_mismatches, spikes_compared, largest_difference)


def _output_names(network: SpikingNetwork) -> list[str]:
    return [*OUTPUT_NAMES, *layer_names(len(network.layers))[:-1]]


def _largest_difference(found: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    """Where both are NaN or the same infinity they are equal; where only one is, they differ infinitely."""
    with np.errstate(invalid="ignore"):
        difference = np.abs(found - expected)
    difference[np.isnan(difference)] = np.inf
    difference[(found == expected) | (np.isnan(found) & np.isnan(expected))] = 0
    return float(difference.max())


def _forget_origins(graph: onnx.GraphProto) -> None:
    """Drop the exporter's notes of where each node came from, which name this machine's folders."""
    for part in (graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        del part.metadata_props[:]
        part.doc_string = ""
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                _forget_origins(attribute.g)  # what a Scan repeats
                _name_batch(attribute.g)


def _name_batch(body: onnx.GraphProto) -> None:
    """Call the one axis of a Scan's body that is not fixed as the graph around it does, where it has another name."""
    for value in (*body.input, *body.output, *body.value_info):
        for axis in value.type.tensor_type.shape.dim:
            if axis.dim_param:
                axis.dim_param = BATCH


def _seal(model: onnx.ModelProto) -> None:
    """Append the metadata's last entry, which is the last field of the file."""
    model.metadata_props.add(key=SEAL, value=sha256_of_bytes(model.SerializeToString(deterministic=True)))


@contextmanager
def _quietly() -> Iterator[None]:
    """Silence the exporter's warnings and log, which speak of its own workings."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
