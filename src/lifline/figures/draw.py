"""Figures of a training, a network and a prediction, as PNGs. The only module that draws with matplotlib itself."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullFormatter, PercentFormatter
from numpy.typing import NDArray

from lifline.data.published import CLASS_NAMES, IMAGE_SIDE

if TYPE_CHECKING:  # a prediction is drawn without PyTorch
    from torch import Tensor

    from lifline.evaluation.evaluate import Evaluation, Mistake
    from lifline.serving.predictor import Prediction
    from lifline.snn.trace import LayerTrace
    from lifline.training.report import EpochReport

STYLE: dict[Any, Any] = {
    "font.size": 11,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 12,
    "grid.color": "0.9",
    "legend.frameon": False,
}
DOTS_PER_INCH = 120
BLUE, ORANGE, GREY = "tab:blue", "tab:orange", "0.7"
SIZE = (8, 4.5)
"""Inches."""

MAX_MISTAKES = 24
MAX_TRACED = 5
"""Hidden neurons whose membrane is drawn."""

NUM_WEIGHTS = 60
ACCURACIES = (0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9999)


def draw_training(reports: Sequence["EpochReport"]) -> dict[str, bytes]:
    """Figures of a training, by file name."""
    with _drawing("training.png", 1, 2) as (figures, (losses, accuracies)):
        iterations = [loss for report in reports for loss in report.losses]
        per_epoch = len(reports[0].losses)
        epochs = [report.epoch for report in reports]
        losses.plot(np.arange(1, len(iterations) + 1) / per_epoch, iterations, color=BLUE, alpha=0.3, linewidth=0.5)
        losses.plot(epochs, [np.mean(report.losses) for report in reports], color=BLUE, label="training")
        losses.plot(epochs, [report.validation_loss for report in reports], color=ORANGE, label="validation")
        losses.set(xlabel="epoch", ylabel="loss, mean over images", yscale="log", title="Loss")
        losses.legend()
        accuracies.plot(epochs, [report.train_accuracy for report in reports], color=BLUE, label="training")
        accuracies.plot(epochs, [report.validation_accuracy for report in reports], color=ORANGE, label="validation")
        accuracies.set(xlabel="epoch", ylabel="share of the images", title="Accuracy")
        accuracies.yaxis.set_major_formatter(PercentFormatter(1, decimals=1))
        accuracies.legend(loc="lower right")
    return figures


def draw_evaluation(evaluations: Sequence["Evaluation"], mistakes: Sequence["Mistake"]) -> dict[str, bytes]:
    """Figures of what a network decides and how it fires, stopped at several steps; the last is the whole."""
    whole = evaluations[-1]
    return (
        _confusion(whole.labels, whole.decided)
        | _mistakes(mistakes)
        | _firing_rates(whole)
        | _by_num_steps([evaluation.as_point() for evaluation in evaluations])
    )


def draw_trace(
    image: "Tensor", label: int, decided: int, layers: Sequence["LayerTrace"], threshold: float
) -> dict[str, bytes]:
    """Spikes and membranes of every layer for one image `[28, 28]`, whose traces are `[T, 1, N]`."""
    spikes = [layer.spikes[:, 0].cpu().numpy() for layer in layers]
    membranes = [layer.membrane[:, 0].cpu().numpy() for layer in layers]
    with _drawing("raster.png", 2, len(layers) + 1, width=4 * (len(layers) + 1), height=6) as (figures, axes):
        _show_image(axes[0, 0], image.cpu().numpy(), f"test image: {CLASS_NAMES[label]}")
        _scores(axes[1, 0], spikes[-1].sum(0), decided)
        for axis, fired, name in zip(axes[0, 1:], spikes, _layer_names(len(layers)), strict=True):
            _raster(axis, fired, name)
        for axis, fired, membrane in zip(axes[1, 1:-1], spikes, membranes, strict=False):
            _hidden_membranes(axis, membrane, fired, threshold)
        _output_membranes(axes[1, -1], membranes[-1], decided, threshold)
    return figures


def draw_prediction(image: NDArray[np.float32], prediction: "Prediction") -> bytes:
    """The image `[28, 28]` that a network saw, its hidden neurons' and its output's spikes, and the scores."""
    spikes = prediction.spikes
    with _drawing("prediction", 1, 4, width=14, height=3.8) as (figures, axes):
        _show_image(axes[0], image, "what the network sees")
        _raster(axes[1], prediction.hidden_spikes, "hidden neurons")
        _raster(axes[2], spikes, "output")
        _scores(axes[3], spikes.sum(0), prediction.classes.index(prediction.decided))
    return figures["prediction"]


def draw_weights(weights: "Tensor") -> dict[str, bytes]:
    """The weights `[H, 784]` of the first layer as images: those of the largest norm first, evenly picked."""
    order = weights.norm(dim=1).argsort(descending=True)
    picked = weights[order][np.linspace(0, len(order) - 1, min(NUM_WEIGHTS, len(order))).astype(int)]
    scale = float(picked.abs().quantile(0.995)) or 1.0
    with _drawing("weights.png", width=10, height=4.5) as (figures, axis):
        images = picked.reshape(-1, IMAGE_SIDE, IMAGE_SIDE).numpy()
        _show_images(axis, images, columns=12, cmap="RdBu_r", vmin=-scale, vmax=scale)
        axis.figure.colorbar(axis.images[0], ax=axis, label="weight", shrink=0.6)
        axis.set_title(f"First layer: {len(picked)} of {len(weights)} neurons, by the norm of their weights")
    return figures


def as_png(figure: Figure) -> bytes:
    """A figure as the bytes of a PNG."""
    picture = BytesIO()
    figure.savefig(picture, format="png", dpi=DOTS_PER_INCH, bbox_inches="tight", facecolor="white")
    return picture.getvalue()


@contextmanager
def _drawing(
    name: str, rows: int = 1, columns: int = 1, width: float = SIZE[0], height: float = SIZE[1]
) -> Iterator[tuple[dict[str, bytes], Any]]:
    """Axes to draw in; afterwards the dictionary holds the figure as a PNG under `name`."""
    figures: dict[str, bytes] = {}
    with style.context(STYLE, after_reset=True):  # whatever style others have set
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figures, figure.subplots(rows, columns)
        figures[name] = as_png(figure)


def _confusion(labels: "Tensor", predicted: "Tensor") -> dict[str, bytes]:
    counts = np.zeros((len(CLASS_NAMES), len(CLASS_NAMES)), dtype=int)
    np.add.at(counts, (labels.numpy(), predicted.numpy()), 1)
    mistakes = counts * (1 - np.eye(len(counts), dtype=int))
    with _drawing("confusion.png", width=6, height=5.5) as (figures, axes):
        axes.imshow(mistakes, cmap="Oranges", vmin=0, vmax=max(1, mistakes.max()))
        for (actual, taken), count in np.ndenumerate(counts):
            if count:
                is_dark = mistakes[actual, taken] > 0.6 * mistakes.max()
                axes.text(taken, actual, count, ha="center", va="center", color="white" if is_dark else "black")
        axes.grid(visible=False)
        axes.set(xlabel="taken for", ylabel="digit", xticks=range(10), yticks=range(10))
        axes.set_title(f"{mistakes.sum()} of {counts.sum():,} images are mistaken")
    return figures


def _mistakes(mistakes: Sequence["Mistake"]) -> dict[str, bytes]:
    shown = mistakes[:MAX_MISTAKES]
    with _drawing("mistakes.png", width=10, height=5.5) as (figures, axis):
        titles = [f"{CLASS_NAMES[each.label]} as {CLASS_NAMES[each.decided]}, {each.confidence:.0%}" for each in shown]
        _show_images(axis, [each.image.numpy() for each in shown], columns=8, titles=titles, cmap="gray_r")
        axis.set_title("Most confident mistakes, with the share of the output spikes that the decision got")
    return figures


def _firing_rates(evaluation: "Evaluation") -> dict[str, bytes]:
    bins = list(evaluation.firing_rate_histogram())
    middles = [each["firing_rate"] for each in bins]
    means = evaluation.as_metrics()["firing_rate"]
    with _drawing("firing_rates.png", 1, len(means)) as (figures, axes):
        for axis, (layer, mean) in zip(axes, means.items(), strict=True):
            axis.bar(middles, [each[layer] for each in bins], width=1 / len(bins), color=BLUE)
            axis.set(xlabel="spikes per step", title=f"{layer.replace('_', ' layer ')}: mean {mean:.3f}")
            axis.yaxis.set_major_formatter(PercentFormatter(1))
        axes[0].set_ylabel("share of the neurons")
    return figures


def _by_num_steps(points: Sequence[Mapping[str, float]]) -> dict[str, bytes]:
    with _drawing("by_num_steps.png", 1, 2) as (figures, (accuracy, spikes)):
        steps = [point["num_steps"] for point in points]
        ticks = np.array(ACCURACIES)
        shares = np.clip([point["accuracy"] for point in points], ticks[0], ticks[-1])
        accuracy.plot(steps, shares, "o-", color=BLUE, clip_on=False)
        accuracy.set_yscale("logit")  # else the first steps hide how the last ones differ
        accuracy.set_ylim(ticks[ticks <= shares.min()][-1], ticks[ticks >= shares.max()][0])
        accuracy.set(
            xlabel="steps after which the network is stopped",
            ylabel="share of the images",
            title="Test accuracy, logit scale",
        )
        accuracy.yaxis.set_major_locator(FixedLocator(ACCURACIES))
        accuracy.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{share:.2%}"))
        accuracy.yaxis.set_minor_formatter(NullFormatter())
        spikes.plot(steps, [point["spikes_per_image"] for point in points], "o-", color=ORANGE)
        spikes.set(
            xlabel="steps after which the network is stopped", ylabel="spikes per image", title="Spikes, all layers"
        )
        for axis in (accuracy, spikes):
            axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figures


def _layer_names(count: int) -> list[str]:
    hidden = [f"hidden layer {i}" for i in range(1, count)] if count > 2 else ["hidden layer"]  # noqa: PLR2004
    return [*hidden, "output"]


def _raster(axis: Axes, fired: NDArray[Any], name: str) -> None:
    """Spikes `[T, N]`; of many neurons, those that fire, one below the other."""
    is_output = name == "output"
    neurons = np.arange(fired.shape[1]) if is_output else np.flatnonzero(fired.any(0))
    step, row = np.nonzero(fired[:, neurons])
    axis.scatter(step + 1, row, s=80 if is_output else 3, marker="|" if is_output else ".", color="black", linewidths=1)
    axis.set(title=f"{name}: {len(step)} spikes", ylabel="" if is_output else f"{len(neurons)} neurons that fire")
    _time_axis(axis, len(fired))
    axis.invert_yaxis()
    if is_output:
        axis.set(yticks=neurons, yticklabels=CLASS_NAMES, ylim=(len(neurons) - 0.5, -0.5))


def _hidden_membranes(axis: Axes, membranes: NDArray[Any], fired: NDArray[Any], threshold: float) -> None:
    """Membranes `[T, N]` of some neurons, from the one that fires most to one that fires hardly."""
    firing = np.argsort(-fired.sum(0), kind="stable")[: int(fired.any(0).sum())]
    chosen = firing[np.linspace(0, len(firing) - 1, min(MAX_TRACED, len(firing))).astype(int)]
    axis.plot(np.arange(1, len(membranes) + 1), membranes[:, chosen], ".-")
    _finish_membranes(axis, f"membranes of {len(chosen)} that fire", len(membranes), threshold)


def _output_membranes(axis: Axes, membranes: NDArray[Any], decided: int, threshold: float) -> None:
    steps = np.arange(1, len(membranes) + 1)
    axis.plot(steps, np.delete(membranes, decided, axis=1), ".-", color=GREY)
    axis.plot(steps, membranes[:, decided], ".-", color=ORANGE)
    _finish_membranes(axis, f"output membranes, {CLASS_NAMES[decided]} in orange", len(membranes), threshold)


def _finish_membranes(axis: Axes, title: str, num_steps: int, threshold: float) -> None:
    axis.axhline(threshold, color="black", linewidth=1, linestyle="--")
    axis.set(title=title, ylabel="membrane (dashed: threshold)")
    _time_axis(axis, num_steps)


def _time_axis(axis: Axes, num_steps: int) -> None:
    axis.set(xlabel="step", xlim=(0.5, num_steps + 0.5))
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))


def _scores(axis: Axes, counts: NDArray[Any], decided: int) -> None:
    axis.barh(CLASS_NAMES, counts, color=[ORANGE if i == decided else GREY for i in range(len(counts))])
    axis.set(xlabel="output spikes", title=f"decided: {CLASS_NAMES[decided]}")
    axis.invert_yaxis()
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))


def _show_image(axis: Axes, image: NDArray[Any], title: str) -> None:
    axis.imshow(image, cmap="gray_r")
    axis.set_title(title)
    axis.axis("off")


def _show_images(
    axis: Axes, images: Iterable[NDArray[Any]], columns: int, titles: Sequence[str] = (), **options: Any
) -> None:
    """Images in rows, in one and the same axes: to lay out axes for each takes seconds."""
    height = 1.35 if titles else 1.1
    rows = 1
    for i, image in enumerate(images):
        rows = i // columns + 1
        left, bottom = i % columns * 1.1, -(i // columns) * height
        axis.imshow(image, extent=(left, left + 1, bottom, bottom + 1), **options)
        if titles:
            axis.text(left + 0.5, bottom + 1.05, titles[i], ha="center", fontsize=9)
    axis.set(xlim=(0, columns * 1.1), ylim=(-(rows - 1) * height, height))
    axis.axis("off")
