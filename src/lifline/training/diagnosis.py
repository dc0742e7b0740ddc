"""What is wrong with a training, the figure that shows it, and the param to change.

Causes come before what they may cause: a learning rate that is too high kills layers, too.

Limits lie between what the recipes of `presets/` come to in 200 optimizer steps (the worst of them) and what planted
faults do (the mildest of four seeds; `tests/experiments/test_doctor.py` plants them):

    figure                                       presets         limit   planted
    update ratio, the highest of layers, epochs  0.04 to 0.56    1       6.9
                                                                 0.003   0.00014
    gradient of a hidden layer over the output's 0.02 to 2.8     1,000   50,000
                                                                 0.0001  0.0000004
    silent neurons of a layer                    0.44            0.9     1.0
    saturated neurons of a layer                 0.02            0.06    0.16
    images with silent output or tie, few steps  0.06            0.2     0.27
    images with silent output                    0.005           0.25    1.0
    images that tie                              0.18            0.35    0.95
    test images among the training images        0               0.01    0.014
    brightest pixel                              1.0             0.125   0.004
    labels of the nearest class mean             0.69            0.14    0.10
    and how much of that limit is luck           0.03            0.05    0.04
    right in training less right in validation   0.04            0.1     0.29

Few steps: no preset has less than half of what its membranes settle at; this is the preset `fast` with 5 steps.
The last line is of whole trainings: of `default`, `fast` and `fashion-fast`, and of 200 pictures of four classes.
Of few validation images the limit is three standard errors.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from lifline.data.inspection import DataFigures
from lifline.layers import OUTPUT
from lifline.params import Params
from lifline.training.health import Health
from lifline.training.report import EpochReport

MIN_ITERATIONS = 100
"""Optimizer steps before which a network is not judged."""

MIN_PLANNED = 200
MIN_LEARNED = 0.9
"""Optimizer steps of a whole training, below which their number is to blame where validation accuracy is less.

The layers 12C5-MP2-64C5-MP2 came with 300 pictures of three classes and batches of 64 to 38, 43, 78, 92, 95 and 100 %
of the validation images, with 20, 50, 100, 150, 200 and 300 steps in all.
"""

MAX_OVERLAP = 0.01
MIN_BRIGHTNESS = 0.125
MAX_UPDATE_RATIO = 1.0
MIN_UPDATE_RATIO = 3e-3
MAX_GRADIENT_RATIO = 1e3
MIN_GRADIENT_RATIO = 1e-4
MAX_SILENT = 0.9
MAX_SATURATED = 0.06
MIN_SETTLED = 0.5
MAX_UNDECIDED = 0.2
MAX_SILENT_OUTPUTS = 0.25
MAX_TIES = 0.35
MAX_LUCK = 0.05
MAX_OVERFITTING = 0.1
"""Limits of the figures, from the table above."""


class Figures(NamedTuple):
    """What is known of a training, and of its data."""

    params: Params

    iterations: int = 0
    """Optimizer steps so far."""

    planned: int = 0
    """Optimizer steps of the whole training."""

    accuracy: float = 0.0
    """On the validation images, the last."""

    healths: Sequence[Health] = ()
    """After each epoch."""

    failure: str = ""
    """Why it did not go on, if so."""

    data: DataFigures | None = None

    train_accuracy: float = 0.0
    """On the training images when they were shown, in the last epoch."""

    best_accuracy: float = 0.0
    """On the validation images, that of the best epoch."""

    @property
    def health(self) -> Health:
        """The latest."""
        return self.healths[-1]


class Finding(NamedTuple):
    """Something that is wrong."""

    name: str
    figure: str
    """Which shows it."""

    advice: str
    """What to change."""

    def __str__(self) -> str:
        return f"{self.name}: {self.figure}; {self.advice}"


class Rule(NamedTuple):
    """How a fault is found."""

    name: str
    shown_by: Callable[[Figures], str]
    """Returns the figure that shows it, in words; nothing where there is no such fault."""

    advice: str


def figures_of(params: Params, reports: Sequence[EpochReport], failure: str = "") -> Figures:
    """Take what rules ask for from the reports of a training."""
    if not reports:
        return Figures(params, failure=failure)
    last = reports[-1]
    planned = last.iteration // last.epoch * params.train.epochs
    healths = [report.health for report in reports]
    return Figures(
        params,
        last.iteration,
        planned,
        last.validation_accuracy,
        healths,
        failure,
        train_accuracy=last.train_accuracy,
        best_accuracy=max(report.validation_accuracy for report in reports),
    )


def diagnose(figures: Figures) -> list[Finding]:
    """Apply the rules: those of the data where it was looked at, those of the training once it has gone far enough."""
    rules = [
        *(DATA_RULES if figures.data else ()),
        FAILED,
        FEW_STEPS,
        *(TRAINING_RULES if _is_judged(figures) else ()),
    ]
    found = ((rule, rule.shown_by(figures)) for rule in rules)
    return [Finding(rule.name, figure, rule.advice) for rule, figure in found if figure]


def has_few_steps(planned: int, accuracy: float) -> bool:
    """Whether the number of optimizer steps of a whole training is to blame for its validation accuracy."""
    return 0 < planned < MIN_PLANNED and accuracy < MIN_LEARNED


def _is_judged(figures: Figures) -> bool:
    """A training of few steps only at its end: until then, all may be for want of steps."""
    has_enough = figures.planned >= MIN_PLANNED or figures.iterations >= figures.planned
    return has_enough and figures.iterations >= MIN_ITERATIONS


def _reached(figures: Figures) -> float:
    """The best accuracy so far: of few images, one of an epoch may be luck. When the training has ended, the last."""
    has_ended = figures.iterations >= figures.planned
    return figures.accuracy if has_ended else max(figures.accuracy, figures.best_accuracy)


# Of the data.


def _swapped(figures: Figures) -> str:
    data = _data_of(figures)
    has_more = data.num_test > data.num_train
    return f"{data.num_train:,} images to learn from, {data.num_test:,} to test on" if has_more else ""


def _overlapping(figures: Figures) -> str:
    overlap = _data_of(figures).overlap
    return f"{overlap:.1%} of the test images are among the training images" if overlap > MAX_OVERLAP else ""


def _unscaled(figures: Figures) -> str:
    dark = {part: share for part, share in _data_of(figures).brightness.items() if share < MIN_BRIGHTNESS}
    return "; ".join(f"the brightest pixel of a {part} image is {share:.1%} of white" for part, share in dark.items())


def _shuffled(figures: Figures) -> str:
    """Neither the nearest class mean nor the network tells classes apart: where one does, labels mean something.

    Of few images a mean tells too little; what lies anywhere in an image, or has any colour, needs a trained network.
    """
    data = _data_of(figures)
    if data.luck > MAX_LUCK or not _is_judged(figures) or max(data.agreement, _reached(figures)) > data.chance:
        return ""
    return f"{data.agreement:.1%} of the labels are the nearest class's, where luck gives up to {data.chance:.1%}"


def _data_of(figures: Figures) -> DataFigures:
    assert figures.data is not None, "rules of the data are applied where it was looked at"
    return figures.data


# Of the training.


def _failed(figures: Figures) -> str:
    return figures.failure.partition(", allowed is")[0]


def _is_too_short(figures: Figures) -> str:
    is_told_to_overfit = _is_judged(figures) and _overfits(figures)
    is_few = has_few_steps(figures.planned, figures.accuracy) and not is_told_to_overfit
    if figures.iterations < figures.planned or not is_few:
        return ""
    steps = f"{figures.planned} optimizer step{'s' * (figures.planned > 1)} in all"
    return steps if _is_judged(figures) else f"{steps}, too few to look for other faults"


def _moves_too_far(figures: Figures) -> str:
    layer, ratio = _fastest(figures)
    return f"the update ratio of {layer} is {ratio:.2g}" if ratio > MAX_UPDATE_RATIO else ""


def _hardly_moves(figures: Figures) -> str:
    layer, ratio = _fastest(figures)
    if ratio >= MIN_UPDATE_RATIO or min(figures.health.gradient_norm.values()) == 0:
        return ""
    return f"the update ratio of {layer}, the highest, is {ratio:.1e}"


def _fastest(figures: Figures) -> tuple[str, float]:
    """The layer and the epoch with the highest ratio: later, the learning rate may have fallen."""
    moved = [item for health in figures.healths for item in health.update_ratio.items()]
    return max(moved, key=lambda item: item[1])


def _explodes(figures: Figures) -> str:
    layer, ratio = _gradient_ratio(figures, max)
    return f"the gradient of {layer} is {ratio:,.0f} times the output's" if ratio > MAX_GRADIENT_RATIO else ""


def _vanishes(figures: Figures) -> str:
    layer, ratio = _gradient_ratio(figures, min)
    passed = figures.health.gradient_passed[layer]
    if ratio >= MIN_GRADIENT_RATIO:
        return ""
    return f"the gradient of {layer} is {ratio:.1e} of the output's; its surrogate lets {passed:.1%} through"


def _gradient_ratio(figures: Figures, choose: Callable[..., str]) -> tuple[str, float]:
    """Where the output has no gradient, the loss is 0, or nothing fires: that has a rule of its own."""
    norms = figures.health.gradient_norm
    layer = choose(norms, key=lambda name: norms[name])
    return layer, norms[layer] / norms[OUTPUT] if norms[OUTPUT] else 1.0


def _is_dead(figures: Figures) -> str:
    return _in_layers(figures.health.silent, MAX_SILENT, "never fire on validation images")


def _is_saturated(figures: Figures) -> str:
    return _in_layers(figures.health.saturated, MAX_SATURATED, "fire at nearly every step, whatever the image")


def _in_layers(shares: dict[str, float], limit: float, what: str) -> str:
    wrong = {layer: share for layer, share in shares.items() if share > limit}
    return "; ".join(f"{share:.0%} of the neurons of {layer} {what}" for layer, share in wrong.items())


def _has_too_few_steps(figures: Figures) -> str:
    """A membrane of decay beta is on its way to where it settles: 1 - beta^T of it after T steps.

    Decodings that look at the membrane need no spikes.
    """
    network, health = figures.params.network, figures.health
    settled = 1 - max(network.betas) ** network.num_steps
    undecided = health.silent_outputs + health.ties if network.decoding in {"rate", "latency"} else 0
    if settled >= MIN_SETTLED or undecided <= MAX_UNDECIDED:
        return ""
    return (
        f"after {network.num_steps} steps a membrane of beta {max(network.betas)} has {settled:.0%} of what it settles "
        f"at, and {undecided:.0%} of the images get no spike or a tie"
    )


def _is_silent(figures: Figures) -> str:
    share = figures.health.silent_outputs if figures.params.network.decoding != "membrane" else 0
    return f"no output neuron fires for {share:.0%} of the validation images" if share > MAX_SILENT_OUTPUTS else ""


def _ties(figures: Figures) -> str:
    """Other decodings than by rate look at the membrane then."""
    share = figures.health.ties if figures.params.network.decoding == "rate" else 0
    return f"several classes have most spikes for {share:.0%} of the validation images" if share > MAX_TIES else ""


def _learns_nothing(figures: Figures) -> str:
    """Of images learned by heart `overfitting` tells: its advice is the opposite."""
    chance = figures.data.chance if figures.data else 0
    is_luck = _reached(figures) <= chance and not _overfits(figures)
    return f"validation accuracy is {figures.accuracy:.1%}, where luck gives up to {chance:.1%}" if is_luck else ""


def _overfits(figures: Figures) -> str:
    """Of a whole training: one that is cut short sees few images often."""
    seen, held_out = figures.train_accuracy, figures.accuracy
    luck = 3 * math.sqrt(held_out * (1 - held_out) / figures.params.data.validation_size)
    if figures.iterations < figures.planned or seen - held_out <= max(MAX_OVERFITTING, luck):
        return ""
    return f"{seen:.1%} of the training images are right when they are shown, of the validation images {held_out:.1%}"


FAILED = Rule(
    "figures that are no numbers",
    _failed,
    "lower train.learning_rate; where layers are many, take a surrogate that lets less through than straight_through",
)
FEW_STEPS = Rule("few steps", _is_too_short, "make train.batch_size smaller or train.epochs larger")
DATA_RULES = (
    Rule("inputs not scaled", _unscaled, "give data.dataset bytes of 0 to 255, or floats of 0 to 1"),
    Rule("train and test swapped", _swapped, "give the larger part to data.dataset as the training images"),
    Rule("train and test overlap", _overlapping, "take those test images out of the training images of data.dataset"),
    Rule("labels shuffled", _shuffled, "check that labels and images of data.dataset are in the same order"),
)
TRAINING_RULES = (
    Rule("learning rate too high", _moves_too_far, "lower train.learning_rate"),
    Rule("learning rate too low", _hardly_moves, "raise train.learning_rate"),
    Rule(
        "exploding gradient",
        _explodes,
        "lower network.beta or network.num_steps, take fewer network.layers, or network.surrogate atan",
    ),
    Rule(
        "vanishing gradient",
        _vanishes,
        "take network.surrogate atan, fewer network.layers, or a network.threshold nearer to what membranes reach",
    ),
    Rule("dead layer", _is_dead, "lower network.threshold of that layer, or raise network.beta or network.num_steps"),
    Rule("saturated layer", _is_saturated, "raise network.threshold of that layer, or lower network.beta"),
    Rule("too few steps for beta", _has_too_few_steps, "raise network.num_steps, or lower network.beta"),
    Rule("silent output", _is_silent, "lower network.threshold of the output, or raise network.num_steps"),
    Rule("ties", _ties, "set network.decoding to rate_membrane, or raise network.num_steps"),
    Rule(
        "nothing learned",
        _learns_nothing,
        "make train.batch_size smaller or train.epochs larger, take other network.layers, look at images and labels; "
        "where few pixels are dark set train.centre_inputs to true",
    ),
    Rule(
        "overfitting",
        _overfits,
        "check labels, take more images, raise augmentation, or take convolutions or fewer neurons in network.layers",
    ),
)
"""What may be wrong, causes first."""
