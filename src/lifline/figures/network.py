"""Figures of a network at work: spikes, membranes and weights."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from lifline.figures.style import (
    GREY,
    ORANGE,
    classes_to_draw,
    drawing,
    of_classes,
    raster,
    scores,
    short,
    show_image,
    show_images,
    time_axis,
)

if TYPE_CHECKING:
    from torch import Tensor, nn

    from lifline.snn.layer import SpikingLayer
    from lifline.snn.trace import LayerTrace

MAX_TRACED = 5
"""Hidden neurons whose membrane is drawn."""

NUM_WEIGHTS = 60


def draw_trace(
    image: "Tensor",
    label: int,
    decided: int,
    layers: Sequence["LayerTrace"],
    thresholds: Sequence[float],
    class_names: Sequence[str],
) -> dict[str, bytes]:
    """Draw spikes and membranes of every layer for one image `[C, H, W]`, whose traces are of a batch of 1."""
    spikes = [layer.spikes.flatten(1).cpu().numpy() for layer in layers]
    membranes = [layer.membrane.flatten(1).cpu().numpy() for layer in layers]
    shown = classes_to_draw(spikes[-1].sum(0), decided)
    output, names = spikes[-1][:, shown], [short(class_names[i]) for i in shown]
    with drawing("raster.png", 2, len(layers) + 1, width=4 * (len(layers) + 1), height=6) as (figures, axes):
        show_image(axes[0, 0], image.cpu().numpy(), f"test image: {short(class_names[label])}")
        scores(axes[1, 0], output.sum(0), shown.index(decided), names)
        for axis, fired, name in zip(axes[0, 1:-1], spikes, _hidden_names(len(layers) - 1), strict=False):
            raster(axis, fired, name)
        raster(axes[0, -1], output, of_classes("output", len(shown), len(class_names)), names)
        for axis, fired, membrane, threshold in zip(axes[1, 1:-1], spikes, membranes, thresholds, strict=False):
            _hidden_membranes(axis, membrane, fired, threshold)
        _output_membranes(axes[1, -1], membranes[-1], decided, thresholds[-1], short(class_names[decided], 12))
    return figures


def draw_weights(layer: "SpikingLayer") -> dict[str, bytes]:
    """Draw the weights of the first layer as images, a neuron's or a filter's each: evenly picked, by their norm."""
    weights = cast("nn.Linear | nn.Conv2d", layer.projection).weight.detach().cpu()
    is_filter = weights.dim() > 2  # noqa: PLR2004
    order = weights.flatten(1).norm(dim=1).argsort(descending=True)
    picked = weights[order][np.linspace(0, len(order) - 1, min(NUM_WEIGHTS, len(order))).astype(int)]
    scale = float(picked.abs().quantile(0.995)) or 1.0
    with drawing("weights.png", width=10, height=4.5) as (figures, axis):
        images = (picked if is_filter else picked.reshape(-1, *layer.input_shape)).mean(1).numpy()  # over the channels
        show_images(axis, images, columns=12, cmap="RdBu_r", vmin=-scale, vmax=scale)
        axis.figure.colorbar(axis.images[0], ax=axis, label="weight", shrink=0.6)
        what = "filters" if is_filter else "neurons"
        axis.set_title(f"First layer: {len(picked)} of {len(weights)} {what}, by the norm of their weights")
    return figures


def _hidden_names(count: int) -> list[str]:
    return [f"hidden layer {i}" for i in range(1, count + 1)] if count > 1 else ["hidden layer"]


def _hidden_membranes(axis: Axes, membranes: NDArray[Any], fired: NDArray[Any], threshold: float) -> None:
    """Draw membranes `[T, N]` of some neurons, from the one that fires most to one that fires hardly."""
    firing = np.argsort(-fired.sum(0), kind="stable")[: int(fired.any(0).sum())]
    chosen = firing[np.linspace(0, len(firing) - 1, min(MAX_TRACED, len(firing))).astype(int)]
    axis.plot(np.arange(1, len(membranes) + 1), membranes[:, chosen], ".-")
    _finish_membranes(axis, f"membranes of {len(chosen)} that fire", len(membranes), threshold)


def _output_membranes(axis: Axes, membranes: NDArray[Any], decided: int, threshold: float, name: str) -> None:
    steps = np.arange(1, len(membranes) + 1)
    axis.plot(steps, np.delete(membranes, decided, axis=1), ".-", color=GREY)
    axis.plot(steps, membranes[:, decided], ".-", color=ORANGE)
    _finish_membranes(axis, f"output membranes, {name} in orange", len(membranes), threshold)


def _finish_membranes(axis: Axes, title: str, num_steps: int, threshold: float) -> None:
    axis.axhline(threshold, color="black", linewidth=1, linestyle="--")
    axis.set(title=title, ylabel="membrane (dashed: threshold)")
    time_axis(axis, num_steps)
