"""The figure of a prediction, drawn without PyTorch."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lifline.figures.style import classes_to_draw, drawing, of_classes, raster, scores, short, show_image

if TYPE_CHECKING:
    from lifline.serving.predictor import Prediction


def draw_prediction(image: NDArray[np.float32], prediction: "Prediction") -> bytes:
    """Draw the image `[C, H, W]` that a network saw, its hidden neurons' and its output's spikes, and the scores.

    Of many classes those are drawn that have the most spikes, and the one that was decided on.
    """
    decided, num_classes = prediction.classes.index(prediction.decided), len(prediction.classes)
    shown = classes_to_draw(prediction.spikes.sum(0), decided)
    spikes, names = prediction.spikes[:, shown], [short(prediction.classes[i]) for i in shown]
    with drawing("prediction", 1, 4, width=14, height=3.8) as (figures, axes):
        show_image(axes[0], image, "what the network sees")
        raster(axes[1], prediction.hidden_spikes, "hidden neurons")
        raster(axes[2], spikes, of_classes("output", len(shown), num_classes), names)
        scores(axes[3], spikes.sum(0), shown.index(decided), names)
    return figures["prediction"]
