"""Figures of a training."""

from collections.abc import Sequence

import numpy as np
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, PercentFormatter

from lifline.figures.style import BLUE, ORANGE, drawing
from lifline.layers import layer_names
from lifline.training.report import EpochReport


def draw_training(reports: Sequence[EpochReport]) -> dict[str, bytes]:
    """Draw a training; returns PNGs by file name."""
    learns_beta = bool(reports[0].betas)
    with drawing("training.png", 1, 2 + learns_beta, width=4.0 * (2 + learns_beta)) as (
        figures,
        (losses, accuracies, *others),
    ):
        iterations = [loss for report in reports for loss in report.losses]
        per_epoch = len(reports[0].losses)
        epochs = [report.epoch for report in reports]
        marker = "o" if len(reports) == 1 else None  # a line through one point is not seen
        losses.plot(np.arange(1, len(iterations) + 1) / per_epoch, iterations, color=BLUE, alpha=0.3, linewidth=0.5)
        headlines = [report.as_headline() for report in reports]
        for part, label, color in (("train", "training", BLUE), ("validation", "validation", ORANGE)):
            for axis, figure in ((losses, "loss"), (accuracies, "accuracy")):
                of_epochs = [headline[f"{part}_{figure}"] for headline in headlines]
                axis.plot(epochs, of_epochs, marker=marker, color=color, label=label)
        losses.set(xlabel="epoch", ylabel="loss, mean over images", yscale="log", title="Loss")
        losses.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        losses.yaxis.set_major_formatter(FuncFormatter(lambda loss, _: f"{loss:g}"))
        losses.yaxis.set_minor_formatter(NullFormatter())
        losses.legend()
        accuracies.set(xlabel="epoch", ylabel="share of the images", title="Accuracy")
        accuracies.yaxis.set_major_formatter(PercentFormatter(1, decimals=1))
        accuracies.legend(loc="lower right")
        for axis in others:
            for name, *betas in zip(
                layer_names(len(reports[0].betas)), *(report.betas for report in reports), strict=True
            ):
                axis.plot(epochs, betas, marker=marker, label=name.replace("_", " layer "))
            axis.set(xlabel="epoch", ylabel="beta, membrane decay per step", title="Learned decay")
            axis.legend()
    return figures
