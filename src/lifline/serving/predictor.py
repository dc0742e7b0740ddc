"""What an exported network takes a picture for; needs ONNX Runtime, not PyTorch."""

import os
from math import prod
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from pydantic import BaseModel, Field, Json, ValidationError

from lifline.choices import IMAGE, SPIKE_TRAIN, Coding, Decoding
from lifline.data.info import CHANNELS, MAX_SIDE, DatasetInfo
from lifline.errors import LiflineError, ModelError
from lifline.paths import ONNX_MODEL, repository_root
from lifline.system.files import sha256_of_bytes

REGISTERED = "models:/"
HOW_TO_MAKE_ONE = "`dvc repro export` makes models/model.onnx"
SILENT = "no output neuron fired"
FATAL = 4
"""ONNX Runtime's level of what it logs."""

NOWHERE = "/dev/null"
"""The folder where ONNX Runtime looks for files that a model names as its data: none is to be found."""

SEAL = b"rJ\n\x06sha256\x12@"
"""How protobuf begins the metadata's entry by which export seals a file; the SHA-256 itself ends the file."""

SHA256_LENGTH = 64
MAX_BATCH = 100
MAX_VALUES = 10_000_000
"""Of what goes into the network, or comes out of it, for images that are decided on at once."""

CODING_SEED = 0
"""Draws the spikes of an image that is coded by rate, the same ones on a repeat."""


class _Params(BaseModel):
    """What is needed of a network's params."""

    decoding: Decoding = Field(alias="network.decoding")
    """How the class is told by its output."""


class _Metadata(BaseModel):
    """What is needed of what a network's file says of it."""

    dataset: Json[DatasetInfo]
    """Of whose kind the images are that it sees."""

    coding: Json[Coding]
    """How an image is shown to it."""

    params: Json[_Params]


class Decision(NamedTuple):
    """What a network takes an image for."""

    decided: str
    """The name of the class."""

    confidence: float
    """The share of the output spikes that the class has, 0 to 1."""

    counts: NDArray[np.int64]
    """Of each output neuron's spikes, `[C]`."""

    is_decided: bool
    """Whether the output tells a class; where spikes alone are counted, and there is none, `decided` is the first."""


class Prediction(NamedTuple):
    """A network's answer to one image, with every spike."""

    decided: str
    """The name of the class."""

    confidence: float
    """The share of the output spikes that the class has, 0 to 1."""

    classes: list[str]

    spikes: NDArray[np.bool_]
    """Of the output neurons, `[T, C]`."""

    hidden_spikes: NDArray[np.bool_]
    """Of the hidden neurons, layer after layer, `[T, H]`."""

    is_decided: bool
    """As a `Decision` has it."""

    def describe(self) -> str:
        """The prediction in a line."""
        hidden = f"{self.hidden_spikes.sum()} hidden spikes"
        if not self.is_decided:
            return f"{SILENT}, so it is not decided; {hidden}"
        return f"{self.decided}, confidence {100 * self.confidence:.0f} %, {self.spikes.sum()} output and {hidden}"


class Predictor:
    """A network in ONNX Runtime; several threads may ask it at once.

    Args:
        model: a file, or `models:/NAME@ALIAS` and the like of MLflow's registry; by default the repository's.

    Raises:
        ModelError: it is missing, damaged, or not a network of lifline's.
        RegistryError: the registry has no such model.
    """

    def __init__(self, model: str | None = None) -> None:
        self.name = _default() if model is None else model
        self.content = _read(self.name)
        _check_seal(self.content, self.name)
        self.session = _open(self.content, self.name)
        outputs = [output.name for output in self.session.get_outputs()]
        self.hidden = [name for name in outputs if name.startswith("hidden_")]
        metadata = self.session.get_modelmeta().custom_metadata_map
        if not {"spikes", "class", "hidden_1"} <= set(outputs) or not _Metadata.model_fields.keys() <= metadata.keys():
            raise ModelError(f"{self.name} is not a network of lifline's; {HOW_TO_MAKE_ONE}")
        described = _described(metadata, self.name)
        self.dataset = described.dataset
        self.membranes_decide = described.params.decoding != "rate"
        self.input, self.shape = _input(self.session, described, self.name)
        self.predict(np.zeros(self.dataset.shape, dtype=np.float32))

    def predict(self, image: NDArray[np.float32]) -> Prediction:
        """What the network takes an image `[C, H, W]` for; the same answer each time.

        Raises:
            ModelError: it fails, or answers as no network of lifline's does.
        """
        spikes, (number,), hidden = self._run(image[None], self.hidden)
        decision = self._decision(int(number), spikes[:, 0].sum(0))
        hidden_spikes = np.concatenate([each.reshape(len(each), -1) for each in hidden], axis=1) > 0
        classes = list(self.dataset.class_names)
        return Prediction(
            decision.decided, decision.confidence, classes, spikes[:, 0], hidden_spikes, decision.is_decided
        )

    def decide(self, images: NDArray[np.float32]) -> list[Decision]:
        """What the network takes images `[B, C, H, W]` for, as `predict` does; hidden spikes are not handed over.

        Raises:
            ModelError: as `predict`.
        """
        spikes, numbers, _ = self._run(images, [])
        return [self._decision(int(number), counts) for number, counts in zip(numbers, spikes.sum(0), strict=True)]

    @property
    def batch_size(self) -> int:
        """How many images may be decided on at once."""
        values = [self.shape, *(output.shape for output in self.session.get_outputs())]
        largest = max(prod(length for length in shape if isinstance(length, int)) for shape in values)
        return max(1, min(MAX_BATCH, MAX_VALUES // largest))

    def _run(
        self, images: NDArray[np.float32], hidden: list[str]
    ) -> tuple[NDArray[np.bool_], NDArray[np.int64], list[NDArray[np.float32]]]:
        """Return output spikes `[T, B, C]`, classes `[B]` and the hidden layers' spikes that are asked for."""
        try:
            output, numbers, *found = self.session.run(["spikes", "class", *hidden], {self.input: self._shown(images)})
        except Exception as error:  # ONNX Runtime's have no common class
            raise ModelError(f"{self.name} fails: {_first_line(error)}") from None
        num_classes, num_steps = len(self.dataset.class_names), len(output) if output.ndim else 0
        if (
            output.shape != (num_steps, len(images), num_classes)
            or numbers.shape != (len(images),)
            or not all(0 <= number < num_classes for number in numbers)
            or any(each.shape[:2] != output.shape[:2] for each in found)
        ):
            raise ModelError(
                f"{self.name} is not a network of lifline's: it has {num_classes} class_names, spikes of shape "
                f"{list(output.shape)}, and decides on class {', '.join(map(str, numbers.flat))}"
            )
        return output > 0, numbers, found

    def _decision(self, number: int, counts: NDArray[np.int64]) -> Decision:
        num_spikes = counts.sum()
        is_decided = bool(num_spikes > 0 or self.membranes_decide)
        return Decision(
            self.dataset.class_names[number], float(counts[number] / max(1, num_spikes)), counts, is_decided
        )

    def _shown(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """The images, or their spikes by rate, which are drawn alike for each."""
        if self.input == IMAGE:
            return images
        drawn = np.random.default_rng(CODING_SEED).random(self.shape, dtype=np.float32)
        return (drawn < images).astype(np.float32)


def _default() -> str:
    try:
        return os.path.relpath(repository_root() / ONNX_MODEL)
    except LiflineError as error:
        raise ModelError(f"{error}; --model names a model from elsewhere") from None


def _read(model: str) -> bytes:
    if model.startswith(REGISTERED):
        from lifline.tracking.registry import read_onnx  # noqa: PLC0415 - MLflow, which a file does not need

        return read_onnx(model)
    try:
        return Path(model).read_bytes()
    except FileNotFoundError:
        if model.isdecimal():
            raise ModelError(
                f"there is no file {model}; version {model} of the registry is {REGISTERED}lifline/{model}"
            ) from None
        raise ModelError(f"{model} is missing; {HOW_TO_MAKE_ONE}") from None


def _check_seal(content: bytes, name: str) -> None:
    """Refuse a file that was changed since export sealed it; a model of another program's has no seal."""
    body, seal = content[: -len(SEAL) - SHA256_LENGTH], content[-len(SEAL) - SHA256_LENGTH :]
    found = sha256_of_bytes(body)
    if seal.startswith(SEAL) and seal.removeprefix(SEAL) != found.encode():
        raise ModelError(f"{name} is damaged: its SHA-256 is {found}, not the one at its end")


def _open(content: bytes, name: str) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = FATAL
    options.intra_op_num_threads = 1  # an image is too little work to share
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", NOWHERE)
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's have no common class
        if "External data path" in str(error):
            raise ModelError(f"{name} names another file as its data; allowed is one file that holds all") from None
        if Path(name).suffix not in ("", ONNX_MODEL.suffix):
            raise ModelError(f"{name} is no ONNX file; {HOW_TO_MAKE_ONE}") from None
        raise ModelError(f"{name} is damaged, or no ONNX model: {_first_line(error)}") from None


def _described(metadata: dict[str, str], name: str) -> _Metadata:
    try:
        described = _Metadata.model_validate(metadata)
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(map(str, problem["loc"]))
        raise ModelError(
            f"{name} is not a network of lifline's: its {place!r} is not allowed: {problem['msg']}"
        ) from None
    info = described.dataset
    if not info.is_printable():
        raise ModelError(f"{name} is not a network of lifline's: a name in its dataset cannot be printed")
    if info.shape[0] not in CHANNELS or max(info.shape) > MAX_SIDE:
        raise ModelError(
            f"{name} sees images of shape {list(info.shape)}; allowed are {' or '.join(map(str, CHANNELS))} channels, "
            f"and up to {MAX_SIDE} pixels a side"
        )
    return described


def _input(session: onnxruntime.InferenceSession, described: _Metadata, name: str) -> tuple[str, list[int]]:
    """What the network is shown: its name, and its shape for one image: `[1, C, H, W]`, or `[T, 1, C, H, W]`."""
    image = list(described.dataset.shape)
    expected, num_axes = (SPIKE_TRAIN, 5) if described.coding == "rate" else (IMAGE, 4)
    found = {given.name: given.shape for given in session.get_inputs()}
    shape = found.get(expected, [])
    steps = shape[:-4]
    if len(found) != 1 or len(shape) != num_axes or shape[-3:] != image or not all(isinstance(n, int) for n in steps):
        raise ModelError(
            f"{name} is not a network of lifline's: its inputs are {found}; allowed is {expected}, whose last axes are "
            f"{image}"
        )
    return expected, [*steps, 1, *image]


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
