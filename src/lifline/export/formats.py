"""As what a network leaves: the files of each format, and what proves that they are the network."""

import math
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from lifline.choices import FormatName
from lifline.data.datasets import Dataset
from lifline.data.images import split_training_images
from lifline.errors import ModelError
from lifline.export.integer.files import files as files_of
from lifline.export.integer.files import load_integer_network
from lifline.export.integer.network import IntegerNetwork
from lifline.export.integer.proof import prove
from lifline.export.integer.quantize import quantize
from lifline.export.nir import nir_bytes, nir_metadata, to_nir
from lifline.export.nir_readers import ReaderComparison, compare_readers
from lifline.export.onnx import compare_with_network, onnx_metadata, to_onnx
from lifline.export.proof import require_equality
from lifline.models.model import Model
from lifline.params import Params
from lifline.paths import FORMATS, MODEL, MODEL_CARD, ONNX_MODEL
from lifline.system.files import write_bytes

FOLDER = MODEL.parent
TITLES = {"onnx": "ONNX", "nir": "NIR", "integer": "integers, in C"}


class Subject(NamedTuple):
    """What is exported, and the images that prove it."""

    model: Model
    model_sha256: str
    params: Params
    dataset: Dataset
    accuracy: float
    """On the test images, 0 to 1."""


class Export(NamedTuple):
    """A network in a format: nothing where the format cannot carry it, or in integers not well enough."""

    files: Mapping[str, bytes]
    """By path below `FOLDER`."""

    figures: Mapping[str, Any]
    """Of the proof, as reports/export.json has them; or the reason why there are no files."""

    verdict: str
    """What the proof found, for a screen."""

    sentences: list[str]
    """The figures, to be read."""

    metrics: Mapping[str, float]
    """Those of the figures that tell networks apart: few, or MLflow's comparison has the accuracies out of sight."""

    class_mismatches: int = 0
    """Test images on which the files decide otherwise than the network, of formats that claim never to."""


def write_exports(exports: Mapping[str, Export]) -> dict[str, bytes]:
    """Write the files of all formats in place of those of an earlier export; returns them."""
    remove_exports()
    files = {name: content for export in exports.values() for name, content in export.files.items()}
    FORMATS.mkdir(parents=True)  # DVC wants it where there is nothing but ONNX, too
    for name, content in files.items():
        write_bytes(FOLDER / name, content)
    return files


def remove_exports() -> None:
    """Remove the files of an earlier export, and their card."""
    MODEL_CARD.unlink(missing_ok=True)
    ONNX_MODEL.unlink(missing_ok=True)
    shutil.rmtree(FORMATS, ignore_errors=True)


def export_all(subject: Subject, tell: Callable[[str], None]) -> dict[str, Export]:
    """Export a network in the formats that its params ask for, and tell of each proof.

    Raises:
        ModelError: a proof failed.
    """
    exports: dict[str, Export] = {}
    for name in subject.params.export.formats:
        exports[name] = export_as(name, subject)
        tell(f"{TITLES[name]}: {exports[name].verdict}")
    return exports


def export_as(name: FormatName, subject: Subject) -> Export:
    """Export a network; a format that cannot carry it, and integers that lose too much, leave a reason and no files.

    Raises:
        ModelError: the proof failed.
    """
    return EXPORTERS[name](subject)


def _as_onnx(subject: Subject) -> Export:
    model, params = subject.model, subject.params
    metadata = onnx_metadata(params, model.dataset, subject.model_sha256, subject.accuracy)
    exported = to_onnx(model.network, params.network.decoding, metadata)
    comparison = compare_with_network(exported, model.network, params.network.decoding, subject.dataset.test)
    require_equality(comparison, params.export.max_class_mismatches)
    files = {ONNX_MODEL.name: exported.SerializeToString(deterministic=True)}
    metrics = {name: getattr(comparison, name) for name in ("class_mismatches", "spike_mismatches")}
    sentences = [comparison.describe()]
    mismatches = comparison.class_mismatches
    return Export(files, comparison._asdict(), comparison.verdict(), sentences, metrics, mismatches)


def _as_nir(subject: Subject) -> Export:
    model, params = subject.model, subject.params
    try:
        graph = to_nir(model.network, nir_metadata(model.params, model.dataset, subject.model_sha256))
    except ModelError as error:
        return _not_made(str(error))
    content = nir_bytes(graph)
    readers = compare_readers(content, model.network, params.network.decoding, subject.dataset.test)
    by_hand = readers[0]  # snnTorch's neurons, set to be ours
    if by_hand.refused:
        raise ModelError(by_hand.describe())
    require_equality(by_hand, params.export.max_class_mismatches)
    return Export(
        {"formats/model.nir": content},
        {comparison.reader.name: _figures(comparison) for comparison in readers},
        by_hand.verdict(),
        [comparison.describe() for comparison in readers],
        {"class_mismatches": by_hand.class_mismatches},
        by_hand.class_mismatches,
    )


def _figures(comparison: ReaderComparison) -> dict[str, object]:
    if comparison.refused:
        return {"refused": comparison.refused}
    counted = ("images", "class_mismatches", "spike_count_mismatches")
    return {name: getattr(comparison, name) for name in counted}


def _as_integer(subject: Subject) -> Export:
    model, decoding = subject.model, subject.params.network.decoding
    try:
        files = files_of(quantize(model.network, decoding))
    except ModelError as error:
        return _not_made(str(error))
    integer = _read_back(files["network.safetensors"])
    validation = split_training_images(subject.dataset.train, subject.params.data).validation
    judged = prove(integer, model.network, decoding, validation)
    num_lost = round((judged.float_accuracy - judged.integer_accuracy) * judged.images)
    allowed = math.ceil(subject.params.export.max_accuracy_loss * judged.images)  # of few images, one at least
    if num_lost > allowed:
        return _not_made(
            f"of the validation images the integer network decides {num_lost:,} more wrong than the network: "
            f"{judged.describe()}; allowed by export.max_accuracy_loss are {allowed:,} of {judged.images:,}"
        )
    judgement = f"{max(0, num_lost):,} of {judged.images:,} validation images lost, {allowed:,} allowed"
    tested = prove(integer, model.network, decoding, subject.dataset.test)
    return Export(
        {f"formats/integer/{name}": content for name, content in files.items()},
        {"validation": judged._asdict(), "test": tested._asdict()},
        f"{judgement}; {tested.verdict()}",
        [f"by its specification in NumPy, {tested.describe()}, since its numbers are rounded"],
        {"accuracy": tested.integer_accuracy, "class_mismatches": tested.class_mismatches},
    )


def _read_back(content: bytes) -> IntegerNetwork:
    """Return the network that a file holds, so that the file is what is proven."""
    with TemporaryDirectory() as folder:
        path = Path(folder, "network.safetensors")
        path.write_bytes(content)
        return load_integer_network(path)


EXPORTERS: dict[FormatName, Callable[[Subject], Export]] = {"onnx": _as_onnx, "nir": _as_nir, "integer": _as_integer}


def _not_made(reason: str) -> Export:
    told = f"not made: {reason}"
    return Export({}, {"not_made": reason}, told, [told], {})
