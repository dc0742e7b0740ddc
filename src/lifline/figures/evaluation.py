"""Figures of what a network decides, and how it fires."""

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullFormatter, PercentFormatter

from lifline.data.images import LabelledImages
from lifline.evaluation.evaluate import Evaluation, Mistake, mistakes
from lifline.evaluation.report import Stop
from lifline.figures.network import draw_trace, draw_weights
from lifline.figures.style import AS_IT_IS, BLUE, MAX_CLASSES, ORANGE, as_picture, drawing, narrowed, short, show_images
from lifline.models.model import Model, run_over
from lifline.snn.trace import trace

MAX_MISTAKES = 24
MAX_UPRIGHT = 2
"""Characters of names that are written beside each other."""

MAX_WIDTH = 0.98
"""Of a name below others, in inches."""

MAX_NAMED = 60
"""Classes, beside a confusion matrix; of more their numbers are shown."""
ACCURACIES = (0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9999)


@torch.no_grad()
def evaluation_figures(model: Model, data: LabelledImages, evaluations: Sequence[Evaluation]) -> dict[str, bytes]:
    """Return PNGs by file name; the spikes that are drawn are those of the first image.

    Args:
        model: its network on the device of the images.
        data: what was evaluated.
        evaluations: by number of steps, the last of them whole.
    """
    whole = evaluations[-1]
    label, decided = int(whole.labels[0]), int(whole.decided[0])
    inputs = next(run_over(model.network, data)).inputs
    first = inputs[:1] if model.network.coding == "constant" else inputs[:, :1]
    layers = trace(model.network, first)
    thresholds = [layer.neuron.threshold for layer in model.network.layers]
    return (
        draw_evaluation(evaluations, mistakes(data, whole))
        | draw_trace(data.images[0], label, decided, layers, thresholds, model.dataset.class_names)
        | draw_weights(model.network.layers[0])
    )


def draw_evaluation(evaluations: Sequence[Evaluation], mistakes: Sequence[Mistake]) -> dict[str, bytes]:
    """Draw what a network decides and how it fires, stopped at several steps; the last is the whole."""
    whole = evaluations[-1]
    return (
        _confusion(whole)
        | _mistakes(mistakes, whole.class_names)
        | _firing_rates(whole)
        | _by_num_steps([evaluation.as_stop() for evaluation in evaluations])
    )


def _confusion(evaluation: Evaluation) -> dict[str, bytes]:
    classes = evaluation.class_names
    counts = np.zeros((len(classes), len(classes)), dtype=int)
    np.add.at(counts, (evaluation.labels.numpy(), evaluation.decided.numpy()), 1)
    mistakes = counts * (1 - np.eye(len(counts), dtype=int))
    with drawing("confusion.png", width=6, height=5.5) as (figures, axes):
        axes.imshow(mistakes, cmap="Oranges", vmin=0, vmax=max(1, mistakes.max()))
        for (actual, taken), count in np.ndenumerate(counts):
            if count and len(classes) <= MAX_CLASSES:
                is_dark = mistakes[actual, taken] > 0.6 * mistakes.max()
                axes.text(taken, actual, count, ha="center", va="center", color="white" if is_dark else "black")
        axes.grid(visible=False)
        axes.set(xlabel="taken for", ylabel="class")
        if len(classes) <= MAX_NAMED:
            names, size = [short(name) for name in classes], min(11, 400 / len(classes))
            is_long = max(map(len, names)) > MAX_UPRIGHT
            slant = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"} if is_long else {}
            axes.set_xticks(range(len(classes)), names, size=size, **slant)
            axes.set_yticks(range(len(classes)), names, size=size)
        axes.set_title(f"{mistakes.sum()} of {counts.sum():,} images are mistaken")
    return figures


def _mistakes(mistakes: Sequence[Mistake], class_names: Sequence[str]) -> dict[str, bytes]:
    shown = mistakes[:MAX_MISTAKES]
    with drawing("mistakes.png", width=10, height=6.5) as (figures, axis):
        is_short = max(map(len, class_names)) <= MAX_UPRIGHT
        title = "{} as {}, {:.0%}" if is_short else "{}\nas {}\n{:.0%}"
        names = {i: narrowed(class_names[i], MAX_WIDTH) for each in shown for i in (each.label, each.decided)}
        titles = [title.format(names[each.label], names[each.decided], each.confidence) for each in shown]
        show_images(axis, [as_picture(each.image.numpy()) for each in shown], columns=8, titles=titles, **AS_IT_IS)
        told = "Most confident mistakes, with the share of the output spikes that the decision got"
        axis.set_title(told if shown else "No test image is mistaken")
    return figures


def _firing_rates(evaluation: Evaluation) -> dict[str, bytes]:
    bins = list(evaluation.firing_rate_histogram())
    middles = [each["firing_rate"] for each in bins]
    means = evaluation.as_metrics().firing_rate
    with drawing("firing_rates.png", 1, len(means)) as (figures, axes):
        for axis, (layer, mean) in zip(axes, means.items(), strict=True):
            axis.bar(middles, [each[layer] for each in bins], width=1 / len(bins), color=BLUE)
            axis.set(xlabel="spikes per step", title=f"{layer.replace('_', ' layer ')}: mean {mean:.3f}")
            axis.yaxis.set_major_formatter(PercentFormatter(1))
        axes[0].set_ylabel("share of the neurons")
    return figures


def _by_num_steps(stops: Sequence[Stop]) -> dict[str, bytes]:
    with drawing("by_num_steps.png", 1, 2) as (figures, (accuracy, spikes)):
        steps = [stop.num_steps for stop in stops]
        ticks = np.array(ACCURACIES)
        shares = np.clip([stop.accuracy for stop in stops], ticks[0], ticks[-1])
        accuracy.plot(steps, shares, "o-", color=BLUE, clip_on=False)
        accuracy.set_yscale("logit")  # else the first steps hide how the last ones differ
        lowest, highest = ticks[ticks <= shares.min()][-1], ticks[ticks >= shares.max()][0]
        if lowest == highest:  # all are at one tick
            lowest = max(ticks[0], 1 - 2 * (1 - lowest))
            highest = 1 - (1 - highest) / 2
        accuracy.set_ylim(lowest, highest)
        accuracy.set(
            xlabel="steps after which the network is stopped",
            ylabel="share of the images",
            title="Test accuracy, logit scale",
        )
        accuracy.yaxis.set_major_locator(FixedLocator(ACCURACIES))
        beyond = {ticks[0]: "≤ ", ticks[-1]: "≥ "}  # where the scale ends
        accuracy.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{beyond.get(share, '')}{share:.2%}"))
        accuracy.yaxis.set_minor_formatter(NullFormatter())
        spikes.plot(steps, [stop.spikes_per_image for stop in stops], "o-", color=ORANGE)
        spikes.set(
            xlabel="steps after which the network is stopped", ylabel="spikes per image", title="Spikes, all layers"
        )
        for axis in (accuracy, spikes):
            axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figures
