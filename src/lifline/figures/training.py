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
        losses.plot(np.arange(1, len(iterations) + 1) / per_epoch, iterations, color=BLUE, alpha=0.3, linewidth=0.5)
        losses.plot(epochs, [np.mean(report.losses) for report in reports], color=BLUE, label="training")
        losses.plot(epochs, [report.validation_loss for report in reports], color=ORANGE, label="validation")
        losses.set(xlabel="epoch", ylabel="loss, mean over images", yscale="log", title="Loss")
        losses.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        losses.yaxis.set_major_formatter(FuncFormatter(lambda loss, _: f"{loss:g}"))
        losses.yaxis.set_minor_formatter(NullFormatter())
        losses.legend()
        accuracies.plot(epochs, [report.train_accuracy for report in reports], color=BLUE, label="training")
        accuracies.plot(epochs, [report.validation_accuracy for report in reports], color=ORANGE, label="validation")
        accuracies.set(xlabel="epoch", ylabel="share of the images", title="Accuracy")
        accuracies.yaxis.set_major_formatter(PercentFormatter(1, decimals=1))
        accuracies.legend(loc="lower right")
        for axis in others:
            for name, *betas in zip(
                layer_names(len(reports[0].betas)), *(report.betas for report in reports), strict=True
            ):
                axis.plot(epochs, betas, label=name.replace("_", " layer "))
            axis.set(xlabel="epoch", ylabel="beta, membrane decay per step", title="Learned decay")
            axis.legend()
    return figures
