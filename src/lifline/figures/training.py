"""Figures of a training."""

from collections.abc import Sequence

import numpy as np
from matplotlib.ticker import PercentFormatter

from lifline.figures.style import BLUE, ORANGE, drawing
from lifline.training.report import EpochReport


def draw_training(reports: Sequence[EpochReport]) -> dict[str, bytes]:
    """Draw a training; returns PNGs by file name."""
    with drawing("training.png", 1, 2) as (figures, (losses, accuracies)):
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
