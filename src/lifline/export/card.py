"""The model card: what an exported network is, how good it is, what it costs and where it fails."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from statistics import NormalDist

from lifline.choices import SPIKE_TRAIN, Coding, Preparation
from lifline.data.datasets import Dataset
from lifline.data.info import DatasetInfo
from lifline.evaluation.energy import FLOAT_ADDITION, FLOAT_MULTIPLY_ACCUMULATE, activation_bits
from lifline.evaluation.report import EnergyLines, EvaluationReport, Nanojoules, Stop
from lifline.export.formats import TITLES, Export
from lifline.export.onnx import input_name
from lifline.layers import describe_network, shapes_of
from lifline.params import Params

CONFIDENCE = 0.95
SMALLEST_SHARE = 0.0005
"""By which energies differ as they are shown."""

ZEROS = ("with all values", "without pixels and activations of 0")
"""Columns of the table of energies."""

MAX_POINTS = 10
CLASSES_PER_TABLE = 10

LIMITS: dict[Preparation, str] = {
    "handwriting": "Trained on single, centred, upright, handwritten characters, light on dark.",
    "on_black": "Trained on single, upright objects that fill the image, light on dark.",
    "plain": "Trained on images that are all of one size. A picture of another shape gets black borders.",
}

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

Of a picture: `lifline predict PICTURE`. Once `lifline champion` has chosen it, from MLflow:
`mlflow.pyfunc.load_model("models:/lifline@champion")`."""


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
    rows = ([TITLES[name], _sizes(export.files), "; ".join(export.sentences)] for name, export in exports.items())
    yield from _table(["format", "files", "proof"], rows)
    yield ""
    yield (
        "Where spikes of the ONNX file differ, sums rounded in another order let a neuron at its threshold fire or "
        "not. A spike more or less moves its membrane by the threshold, and those that it reaches by its weights."
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
    operations, every, skipped = evaluation.operations, evaluation.energy.all_values, evaluation.energy.zeros_skipped
    rows = [
        ["1. arithmetic alone, fp32", *(f"{lines.float_arithmetic:,.0f}" for lines in (every, skipped))],
        ["2. with memory, int8", *(_with_memory(lines.spiking) for lines in (every, skipped))],
        [
            f"3. ordinary network, int8, {activation_bits(params.network.num_steps)}-bit activations",
            *(_with_memory(lines.quantised) for lines in (every, skipped)),
        ],
    ]
    yield from _table(["nJ per image", *ZEROS], rows)
    yield ""
    yield (
        f"By 2 and 3 the network takes {_compared(every)} the ordinary one of the same layers with all values, and "
        f"{_compared(skipped)} it where both skip zeros. 1: "
        f"{evaluation.multiply_accumulates_per_image:,} multiply-accumulates at "
        f"{FLOAT_MULTIPLY_ACCUMULATE} pJ in the first layer, {FIRST_LAYER[params.network.coding]}; and "
        f"{evaluation.synaptic_operations_per_image:,.0f} synaptic operations, additions at {FLOAT_ADDITION} pJ, one "
        "for each spike and neuron that it reaches; 32-bit floating point at 45 nm (Horowitz, ISSCC 2014). 2 and 3, in "
        "brackets arithmetic: one machine with int8 weights, 32-bit sums and membranes, and for each kind of value of "
        "a layer a memory as large as they are, 10 pJ (8 kB) to 100 pJ (1 MB) per 64 bits. It reads a weight anew "
        "for each operation, inputs once a step, and keeps membranes from step to step; sums stay in registers "
        "(accesses after Lemaire et al., arXiv 2210.13107). 3 carries spike counts, in one step (Yan et al., arXiv "
        "2409.08290). Left out: pooling, control, wires."
    )
    yield ""
    yield (
        f"As NeuroBench counts: footprint {operations.footprint_bytes:,} bytes; connection sparsity "
        f"{operations.connection_sparsity:.3f}, activation sparsity {operations.activation_sparsity:.3f}; "
        f"{operations.effective_macs:,.0f} effective MACs, {operations.effective_acs:,.0f} effective ACs, of "
        f"{operations.dense:,} dense operations."
    )


def _with_memory(energy: Nanojoules) -> str:
    return f"{energy.total:,.0f} ({energy.arithmetic:,.0f})"


def _compared(lines: EnergyLines) -> str:
    share = lines.spiking.total / lines.quantised.total - 1
    return f"{abs(share):.1%} {'less' if share < 0 else 'more'} than" if abs(share) >= SMALLEST_SHARE else "as much as"


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
