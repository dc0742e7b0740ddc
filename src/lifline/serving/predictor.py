"""What an exported network takes a picture for; needs ONNX Runtime, not PyTorch."""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from lifline.data.datasets import MNIST
from lifline.errors import ModelError

REGISTERED = "models:/"
HOW_TO_MAKE_ONE = "`dvc repro export` makes models/model.onnx"
FATAL = 4
"""ONNX Runtime's level of what it logs."""


class Prediction(NamedTuple):
    """A network's answer to one image."""

    decided: str
    """The name of the class."""

    confidence: float
    """The share of the output spikes that the class has, 0 to 1."""

    classes: list[str]

    spikes: NDArray[np.bool_]
    """Of the output neurons, `[T, C]`."""

    hidden_spikes: NDArray[np.bool_]
    """Of the hidden neurons, layer after layer, `[T, H]`."""

    def describe(self) -> str:
        """The prediction in a line."""
        return (
            f"{self.decided}, confidence {100 * self.confidence:.0f} %, {self.spikes.sum()} output and "
            f"{self.hidden_spikes.sum()} hidden spikes"
        )


class Predictor:
    """A network in ONNX Runtime; several threads may ask it at once.

    Args:
        model: a file, or `models:/NAME@ALIAS` and the like of MLflow's registry.

    Raises:
        ModelError: it is missing, damaged, or not a network of lifline's.
        RegistryError: the registry has no such model.
    """

    def __init__(self, model: str) -> None:
        self.session = _open(_read(model), model)
        outputs = [output.name for output in self.session.get_outputs()]
        self.hidden = [name for name in outputs if name.startswith("hidden_")]
        metadata = self.session.get_modelmeta().custom_metadata_map
        inputs = {given.name: given.shape[1:] for given in self.session.get_inputs()}
        if (
            inputs != {"image": [1, MNIST.shape[-1], MNIST.shape[-1]]}
            or not {"spikes", "class", "hidden_1"} <= set(outputs)
            or "class_names" not in metadata
        ):
            raise ModelError(f"{model} is not a network of lifline's; {HOW_TO_MAKE_ONE}")
        self.classes: list[str] = json.loads(metadata["class_names"])

    def predict(self, image: NDArray[np.float32]) -> Prediction:
        """What the network takes an image `[28, 28]` for."""
        found = self.session.run(["spikes", "class", *self.hidden], {"image": image[None, None]})
        spikes, decided, hidden_spikes = found[0][:, 0] > 0, int(found[1][0]), np.concatenate(found[2:], axis=-1)[:, 0]
        confidence = float(spikes[:, decided].sum() / max(1, spikes.sum()))
        return Prediction(self.classes[decided], confidence, self.classes, spikes, hidden_spikes > 0)


def _read(model: str) -> bytes:
    if model.startswith(REGISTERED):
        from lifline.tracking.registry import read_onnx  # noqa: PLC0415 - MLflow, which a file does not need

        return read_onnx(model)
    try:
        return Path(model).read_bytes()
    except FileNotFoundError:
        raise ModelError(f"{model} is missing; {HOW_TO_MAKE_ONE}") from None


def _open(content: bytes, name: str) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = FATAL
    options.intra_op_num_threads = 1  # an image is too little work to share
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's have no common class
        raise ModelError(f"{name} is damaged, or no ONNX model: {str(error).splitlines()[0]}") from None
