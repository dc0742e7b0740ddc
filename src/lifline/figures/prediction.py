"""The figure of a prediction, drawn without PyTorch."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lifline.figures.style import drawing, raster, scores, show_image

if TYPE_CHECKING:
    from lifline.serving.predictor import Prediction


def draw_prediction(image: NDArray[np.float32], prediction: "Prediction") -> bytes:
    """Draw the image `[H, W]` that a network saw, its hidden neurons' and its output's spikes, and the scores."""
    spikes = prediction.spikes
    with drawing("prediction", 1, 4, width=14, height=3.8) as (figures, axes):
        show_image(axes[0], image[None], "what the network sees")
        raster(axes[1], prediction.hidden_spikes, "hidden neurons")
        raster(axes[2], spikes, "output", prediction.classes)
        scores(axes[3], spikes.sum(0), prediction.classes.index(prediction.decided), prediction.classes)
    return figures["prediction"]
