"""Run docs/tutorial.md, and write the outputs and figures that it shows: `python -m docs.tools.tutorial`."""

from pathlib import Path
from typing import Any

import torch

from docs.tools.snippets import ROOT, with_outputs
from lifline.data.batches import as_input
from lifline.figures.style import GREY, ORANGE, drawing, raster, show_image, time_axis
from lifline.snn import lif
from lifline.snn.surrogate import SURROGATES
from lifline.snn.trace import trace

PAGE = ROOT / "docs/tutorial.md"
FIGURES = ROOT / "docs/tutorial"


def draw(names: dict[str, Any]) -> dict[str, bytes]:
    """Draw the figures, of what the page's programs have left under `names`."""
    return draw_neuron(names["current"]) | draw_surrogates() | draw_curves(names) | draw_raster(names)


def draw_neuron(current: torch.Tensor) -> dict[str, bytes]:
    """Draw the current `[T]`, membrane and spikes of the first neuron."""
    spikes, membrane = (each[:, 0] for each in lif(current[:, None], beta=0.9))
    steps = range(1, len(current) + 1)
    with drawing("neuron.png", 3, width=8, height=4.5) as (figures, axes):
        axes[0].plot(steps, current, drawstyle="steps-mid")
        axes[1].plot(steps, membrane, ".-")
        axes[1].axhline(1, color="black", linewidth=1, linestyle="--")
        axes[2].vlines(spikes.nonzero()[:, 0] + 1, 0, 1, color="black")
        for axis, label in zip(axes, ("current", "membrane", "spikes"), strict=True):
            axis.set(ylabel=label)
            time_axis(axis, len(current))
            axis.label_outer()
    return figures


def draw_surrogates() -> dict[str, bytes]:
    """Draw each derivative that stands for a spike's, around the threshold."""
    distance = torch.linspace(-1, 1, 401)
    with drawing("surrogates.png", height=3.5) as (figures, axis):
        for width, (name, derivative) in zip((5, 4, 3, 1.5), SURROGATES.items(), strict=True):  # some lie on others
            axis.plot(distance, derivative(distance), label=name, linewidth=width)
        axis.set(xlabel="membrane minus threshold", ylabel="derivative")
        axis.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return figures


def draw_curves(names: dict[str, Any]) -> dict[str, bytes]:
    """Draw the losses of the training loop."""
    losses, validation_losses = names["losses"], names["validation_losses"]
    with drawing("curves.png", height=3.5) as (figures, axis):
        axis.plot(losses, color=GREY, label="training")
        axis.plot(range(0, len(losses), 10), validation_losses, color=ORANGE, label="validation")
        axis.set(xlabel="iteration", ylabel="loss, summed over 25 steps", ylim=(0, None))
        axis.legend()
    return figures


def draw_raster(names: dict[str, Any]) -> dict[str, bytes]:
    """Draw the spikes of the trained network for the first test image."""
    dataset = names["dataset"]
    with torch.no_grad():
        traces = trace(names["network"], as_input(dataset.test.images[:1]))
    hidden, output = (layer.spikes[:, 0].numpy() for layer in traces)
    with drawing("raster.png", 1, 3, width=12, height=3.2) as (figures, axes):
        show_image(axes[0], dataset.test.images[0].numpy(), "test image")
        raster(axes[1], hidden, "hidden layer")
        raster(axes[2], output, "output", dataset.info.class_names)
    return figures


def main() -> None:
    """Run the page; then write it, and its figures."""
    names: dict[str, Any] = {}
    page = with_outputs(PAGE, names)
    FIGURES.mkdir(exist_ok=True)
    for name, picture in draw(names).items():
        Path(FIGURES, name).write_bytes(picture)
    PAGE.write_text(page)


if __name__ == "__main__":
    main()
