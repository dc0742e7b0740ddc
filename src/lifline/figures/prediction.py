"""The figure of a prediction, drawn without PyTorch."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lifline.figures.style import drawing, raster, scores, show_image

if TYPE_CHECKING:
    from lifline.serving.predictor import Prediction

MAX_CLASSES, NUM_BEST = 20, 10
"""Where there are more classes than fit beside each other, the best are drawn, so many."""

MAX_CHARACTERS = 24
"""Of a class's name."""


def draw_prediction(image: NDArray[np.float32], prediction: "Prediction") -> bytes:
    """Draw the image `[C, H, W]` that a network saw, its hidden neurons' and its output's spikes, and the scores.

    Of many classes those are drawn that have the most spikes, and the one that was decided on.
    """
    shown = _shown(prediction)
    spikes = prediction.spikes[:, shown]
    names = [_short(prediction.classes[i]) for i in shown]
    with drawing("prediction", 1, 4, width=14, height=3.8) as (figures, axes):
        show_image(axes[0], image, "what the network sees")
        raster(axes[1], prediction.hidden_spikes, "hidden neurons")
        raster(axes[2], spikes, _output(prediction, len(shown)), names)
        scores(axes[3], spikes.sum(0), shown.index(prediction.classes.index(prediction.decided)), names)
    return figures["prediction"]


def _shown(prediction: "Prediction") -> list[int]:
    """The numbers of the classes that are drawn, in order."""
    num_classes = len(prediction.classes)
    if num_classes <= MAX_CLASSES:
        return list(range(num_classes))
    decided = prediction.classes.index(prediction.decided)
    ranked = np.argsort(-prediction.spikes.sum(0), kind="stable").tolist()
    return [decided, *(i for i in ranked if i != decided)][:NUM_BEST]


def _output(prediction: "Prediction", num_shown: int) -> str:
    num_classes = len(prediction.classes)
    return "output" if num_shown == num_classes else f"output, {num_shown} of {num_classes} classes"


def _short(name: str) -> str:
    return name if len(name) <= MAX_CHARACTERS else f"{name[: MAX_CHARACTERS - 1]}…"
