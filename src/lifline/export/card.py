"""The model card: what an exported network is, how good it is, what it costs and where it fails."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from statistics import NormalDist

from lifline.choices import SPIKE_TRAIN, Coding, Preparation
from lifline.data.datasets import Dataset
from lifline.data.info import DatasetInfo
from lifline.evaluation.evaluate import PICOJOULES_PER_ADDITION, PICOJOULES_PER_MULTIPLY_ACCUMULATE
from lifline.evaluation.report import EvaluationReport, Stop
from lifline.export.formats import Export
from lifline.export.onnx import input_name
from lifline.layers import describe_network, shapes_of
from lifline.params import Params

CONFIDENCE = 0.95
MAX_POINTS = 10
CLASSES_PER_TABLE = 10

LIMITS: dict[Preparation, str] = {
    "handwriting": "Trained on single, centred, upright, handwritten characters, light on dark.",
    "on_black": "Trained on single, upright objects that fill the image, light on dark.",
    "plain": "Trained on images that are all of one size; a picture of another size is resized.",
}

FORMAT_TITLES = {"onnx": "ONNX", "nir": "NIR", "integer": "integers, in C"}

FIRST_LAYER: dict[Coding, str] = {
    "constant": "whose input is a constant image, computed once",
    "latency": "whose input is spikes",
    "rate": "whose input is spikes",
}

CODED: dict[Coding, str] = {"constant": "", "latency": ", which the file itself codes as spikes", "rate": ""}

EXAMPLE = """
```python
import numpy, onnxruntime

session = onnxruntime.InferenceSession("models/model.onnx")
(decided,) = session.run(["class"], {{"{name}": numpy.zeros({shape}, numpy.float32)}})
print(decided)
```

Of a picture: `lifline predict PICTURE`. From MLflow: `mlflow.pyfunc.load_model("models:/lifline@champion")`."""


def model_card(params: Params, dataset: Dataset, evaluation: EvaluationReport, exports: Mapping[str, Export]) -> str:
    """A card in Markdown; the same network gives the same card."""
    return "\n".join(
        [
            *_summary(params, dataset, evaluation),
            *_formats(exports),
            *_by_class(evaluation.accuracy_by_class),
            *_energy(params, evaluation),
            *_by_num_steps(evaluation.by_num_steps),
            *_limits(params, dataset.info),
            *_use(params, dataset.info),
            *_params(params),
        ]
    )


def _summary(params: Params, dataset: Dataset, evaluation: EvaluationReport) -> Iterator[str]:
    network, info = params.network, dataset.info
    layers = describe_network(network.layers, info.shape, len(info.class_names))
    low, high = wilson_interval(evaluation.correct, evaluation.total)
    yield f"# A spiking network for {info.title}: {layers}, {network.num_steps} steps"
    yield ""
    yield (
        f"**{evaluation.accuracy:.2%} of the {evaluation.total:,} test images** ({CONFIDENCE:.0%} confidence "
        f"interval {low:.2%} to {high:.2%}, Wilson), decided by `{network.decoding}`. Leaky integrate-and-fire "
        f"neurons, beta {_each(evaluation.beta.values())}, threshold {_each(network.thresholds)}, trained by "
        f"backpropagation through time with the surrogate gradient `{network.surrogate}`. Made by lifline."
    )
    yield ""
    yield from _table(["", ""], [
        ["weights", f"SHA-256 `{evaluation.model_sha256}`"],
        ["data", f"{_described(info)}; SHA-256 of its images and of what is said of them `{dataset.sha256}`"],
        ["split", f"of the {len(dataset.train.labels):,} training images the last {params.data.validation_size:,} are "
                  f"for validation{_gate(params)}; {len(dataset.test.labels):,} test images"],
    ])  # fmt: skip


def _gate(params: Params) -> str:
    size = params.data.gate_size
    return f", the {size:,} before them for the choice of the champion" if size else ""


def _formats(exports: Mapping[str, Export]) -> Iterator[str]:
    yield from ("", "## Files and their proofs", "")
    rows = (
        [FORMAT_TITLES[name], _sizes(export.files), "; ".join(export.sentences)] for name, export in exports.items()
    )
    yield from _table(["format", "files", "proof"], rows)
    yield ""
    yield (
        "Where spikes of the ONNX file differ, sums rounded in another order let a neuron at its threshold fire or not."
    )


def _sizes(files: Mapping[str, bytes]) -> str:
    return ", ".join(f"`{name}` {len(content) / 1e3:,.0f} kB" for name, content in files.items()) or "none"


def _each(values: Iterable[float]) -> str:
    """One value where all layers have the same."""
    written = [f"{value:.4g}" for value in values]
    return written[0] if len(set(written)) == 1 else " and ".join([", ".join(written[:-1]), written[-1]])


def _described(info: DatasetInfo) -> str:
    origin = [f"<{info.published}>"] * bool(info.published) + [f"licence: {info.licence}"] * bool(info.licence)
    return ", ".join([info.title, *origin])


def _by_class(accuracies: Mapping[str, float]) -> Iterator[str]:
    yield from ("", "## Results by class", "")
    names = list(accuracies)
    for i in range(0, len(names), CLASSES_PER_TABLE):
        shown = names[i : i + CLASSES_PER_TABLE]
        yield from [""] * (i > 0)
        yield from _table(["class", *shown], [["accuracy", *(f"{accuracies[name]:.2%}" for name in shown)]])


def _energy(params: Params, evaluation: EvaluationReport) -> Iterator[str]:
    yield from ("", "## Energy: an estimate", "")
    multiplications, additions = evaluation.multiply_accumulates_per_image, evaluation.synaptic_operations_per_image
    yield (
        f"**{evaluation.energy_nanojoules_per_image:,.0f} nJ per image**: {multiplications:,} multiply-accumulates at "
        f"{PICOJOULES_PER_MULTIPLY_ACCUMULATE} pJ in the first layer, {FIRST_LAYER[params.network.coding]}; "
        f"and {additions:,.0f} synaptic operations, additions at {PICOJOULES_PER_ADDITION} pJ, one for each spike and "
        "neuron that it reaches. Figures of 32-bit floating point at 45 nm: Horowitz, ISSCC 2014. Left out: memory, "
        "which costs more than arithmetic on most chips; leak and threshold."
    )


def _by_num_steps(stops: Sequence[Stop]) -> Iterator[str]:
    yield from ("", "## Stopped early", "")
    shown = stops[:: -math.ceil(len(stops) / MAX_POINTS)][::-1]
    rows = [[str(stop.num_steps), f"{stop.accuracy:.2%}", f"{stop.spikes_per_image:,.0f}"] for stop in shown]
    yield from _table(["steps", "accuracy", "spikes per image"], rows)


def _limits(params: Params, info: DatasetInfo) -> Iterator[str]:
    """Each paragraph in a line: MLflow breaks lines where they break."""
    yield from ("", "## Limits", "")
    yield (
        f"{LIMITS[info.preparation]} A picture of anything else is taken for one of the classes, too. The confidence "
        "that `lifline predict` prints is a share of spikes, not a calibrated probability."
        + (" Where spike counts tie, `rate` takes the lowest class." if params.network.decoding == "rate" else "")
    )


def _use(params: Params, info: DatasetInfo) -> Iterator[str]:
    network, name = params.network, input_name(params.network.coding)
    shape = ", ".join(map(str, info.shape))
    given = (
        f"`spike_train`: float32 0 or 1, `[{network.num_steps}, batch, {shape}]`, in each step a spike of a pixel with "
        "its brightness as the probability"
        if name == SPIKE_TRAIN
        else f"`image`: float32 `[batch, {shape}]` in [0, 1]{CODED[params.network.coding]}"
    )
    hidden = (
        f"`hidden_{i}` float32 `[{network.num_steps}, batch, {', '.join(map(str, shapes.neurons))}]`"
        for i, shapes in enumerate(shapes_of(network.layers, info.shape), 1)
    )
    yield from ("", "## Use", "")
    yield (
        f"Input {given}. Outputs: `class` int64 `[batch]`; `spikes` and `membrane` float32 "
        f"`[{network.num_steps}, batch, {len(info.class_names)}]`; {', '.join(hidden)}."
    )
    zeros = (*[network.num_steps] * (name == SPIKE_TRAIN), 1, *info.shape)
    yield from EXAMPLE.format(name=name, shape=zeros).splitlines()


def _params(params: Params) -> Iterator[str]:
    yield from ("", "## Params", "")
    yield ", ".join(f"`{name}` {value}" for name, value in params.flat().items()) + "."
    yield ""


def wilson_interval(correct: int, total: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Wilson's score interval of a share (Wilson 1927)."""
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share = correct / total
    middle = share + z * z / (2 * total)
    half = z * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    return (middle - half) / (1 + z * z / total), (middle + half) / (1 + z * z / total)


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    for row in (header, ["---"] * len(header), *rows):
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |"
