"""The model card: what an exported network is, how good it is, what it costs and where it fails."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from statistics import NormalDist

from lifline.data.datasets import MNIST
from lifline.evaluation.evaluate import PICOJOULES_PER_ADDITION, PICOJOULES_PER_MULTIPLY_ACCUMULATE
from lifline.evaluation.report import EvaluationReport, Stop
from lifline.export.onnx import Comparison
from lifline.params import Params

CONFIDENCE = 0.95
MAX_POINTS = 10

LIMITS = (
    "",
    "## Limits",
    "",
    "Trained on single, centred, upright digits of 28 by 28 pixels, written by Americans. A picture of anything else "
    "is taken for a digit, too. The confidence that `lifline predict` prints is a share of spikes, not a calibrated "
    "probability. Where spike counts tie, `rate` takes the lowest class.",
)
"""Each paragraph in a line: MLflow breaks lines where they break."""

EXAMPLE = """
```python
import numpy, onnxruntime

session = onnxruntime.InferenceSession("models/model.onnx")
(decided,) = session.run(["class"], {"image": numpy.zeros((1, 1, 28, 28), numpy.float32)})
print(decided)
```

Of a picture: `lifline predict docs/three.png`. From MLflow: `mlflow.pyfunc.load_model("models:/lifline@champion")`.
""".splitlines()


def model_card(params: Params, evaluation: EvaluationReport, comparison: Comparison) -> str:
    """A card in Markdown; the same network gives the same card."""
    return "\n".join(
        [
            *_summary(params, evaluation, comparison),
            *_by_class(evaluation.accuracy_by_class),
            *_energy(evaluation),
            *_by_num_steps(evaluation.by_num_steps),
            *LIMITS,
            *_use(params),
            *_params(params),
        ]
    )


def _summary(params: Params, evaluation: EvaluationReport, comparison: Comparison) -> Iterator[str]:
    network, held_out = params.network, params.data.validation_size
    sizes = "-".join(str(size) for size in (math.prod(MNIST.shape), *network.hidden, len(MNIST.class_names)))
    low, high = wilson_interval(evaluation.correct, evaluation.total)
    yield f"# A spiking network for MNIST: {sizes}, {network.num_steps} steps"
    yield ""
    yield (
        f"**{evaluation.accuracy:.2%} of the {evaluation.total:,} test images** ({CONFIDENCE:.0%} confidence "
        f"interval {low:.2%} to {high:.2%}, Wilson), decided by `{network.decoding}`. Leaky integrate-and-fire "
        f"neurons, beta {network.beta:g}, threshold {network.threshold:g}, trained by backpropagation through time "
        f"with the surrogate gradient `{network.surrogate}`. Made by lifline."
    )
    yield ""
    yield from _table(["", ""], [
        ["weights", f"SHA-256 `{evaluation.model_sha256}`"],
        ["data", f"MNIST; SHA-256 of its four files' sums `{MNIST.sha256}`"],
        ["split", f"of the 60,000 training images the last {held_out:,} are for validation; 10,000 test images"],
        ["proof", f"{comparison.describe()}: sums rounded in another order let a neuron at its threshold fire or not"],
    ])  # fmt: skip


def _by_class(accuracies: Mapping[str, float]) -> Iterator[str]:
    yield from ("", "## Results by class", "")
    yield from _table(["digit", *accuracies], [["accuracy", *(f"{accuracy:.2%}" for accuracy in accuracies.values())]])


def _energy(evaluation: EvaluationReport) -> Iterator[str]:
    yield from ("", "## Energy: an estimate", "")
    multiplications, additions = evaluation.multiply_accumulates_per_image, evaluation.synaptic_operations_per_image
    yield (
        f"**{evaluation.energy_nanojoules_per_image:,.0f} nJ per image**: {multiplications:,} multiply-accumulates at "
        f"{PICOJOULES_PER_MULTIPLY_ACCUMULATE} pJ in the first layer, whose input is a constant image, computed once; "
        f"and {additions:,.0f} synaptic operations, additions at {PICOJOULES_PER_ADDITION} pJ, one for each spike and "
        "neuron that it reaches. Figures of 32-bit floating point at 45 nm: Horowitz, ISSCC 2014. Left out: memory, "
        "which costs more than arithmetic on most chips; leak and threshold."
    )


def _by_num_steps(stops: Sequence[Stop]) -> Iterator[str]:
    yield from ("", "## Stopped early", "")
    shown = stops[:: -math.ceil(len(stops) / MAX_POINTS)][::-1]
    rows = [[str(stop.num_steps), f"{stop.accuracy:.2%}", f"{stop.spikes_per_image:,.0f}"] for stop in shown]
    yield from _table(["steps", "accuracy", "spikes per image"], rows)


def _use(params: Params) -> Iterator[str]:
    network = params.network
    hidden = (
        f"`hidden_{i}` float32 `[{network.num_steps}, batch, {size}]`" for i, size in enumerate(network.hidden, 1)
    )
    yield from ("", "## Use", "")
    yield (
        "Input `image`: float32 `[batch, 1, 28, 28]` in [0, 1], a light digit on dark ground. Outputs: `class` int64 "
        f"`[batch]`; `spikes` and `membrane` float32 `[{network.num_steps}, batch, 10]`; {', '.join(hidden)}."
    )
    yield from EXAMPLE


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
        yield f"| {' | '.join(row)} |"
