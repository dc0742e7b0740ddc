"""The figure of a prediction shows an image of any shape, and of many classes the best."""

import warnings
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from lifline.figures import prediction as figure
from lifline.figures.style import NUM_BEST, classes_to_draw
from lifline.serving.predictor import Prediction

NUM_STEPS = 6


def predicted(num_classes, decided=1, name="class {}") -> Prediction:
    generator = np.random.default_rng(0)
    classes = [name.format(i) for i in range(num_classes)]
    spikes = generator.random((NUM_STEPS, num_classes)) < 0.3
    return Prediction(classes[decided], 0.5, classes, spikes, generator.random((NUM_STEPS, 50)) < 0.1, True)


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 17, 23), (1, 8, 8), (3, 64, 2)])
@pytest.mark.parametrize(
    "num_classes", [2, 10, *(pytest.param(number, marks=pytest.mark.slow) for number in (47, 1000))]
)
def test_images_of_any_shape_and_any_number_of_classes_are_drawn(shape, num_classes):
    image = np.random.default_rng(0).random(shape, dtype=np.float32)
    with Image.open(BytesIO(figure.draw_prediction(image, predicted(num_classes)))) as drawn:
        assert drawn.width > 1000
        assert len(drawn.convert("L").getcolors()) > 10
        colours = np.asarray(drawn.convert("RGB")).astype(int)[:, : drawn.width // 5]
    assert (np.ptp(colours, axis=-1).max() > 50) == (shape[0] == 3)


@pytest.mark.parametrize("image", [np.float32([[0.9, 0.88]]), np.float32([[0.1, 0.12]]), np.uint8([[230, 225]])])
def test_an_image_is_shown_as_bright_as_it_is(image):
    shape, scale = (1, 2, 2), 255 if image.dtype == np.uint8 else 1
    with Image.open(BytesIO(figure.draw_prediction(np.broadcast_to(image, shape), predicted(10)))) as drawn:
        grey = np.asarray(drawn.convert("L"))[:, : drawn.width // 5]
    middle = np.median(grey[grey.shape[0] // 3 : grey.shape[0] // 2, grey.shape[1] // 3 : -grey.shape[1] // 3])
    assert abs(middle - 255 * image.mean() / scale) < 8


def test_long_names_leave_room_for_what_is_drawn():
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # matplotlib warns where axes have no room
        figure.draw_prediction(np.zeros((1, 28, 28), np.float32), predicted(10, name="a rather long name, " * 3 + "{}"))


def test_of_many_classes_the_one_decided_on_and_the_best_are_drawn():
    counts = predicted(47).spikes.sum(0)
    shown = classes_to_draw(counts, 30)
    assert len(set(shown)) == NUM_BEST
    assert shown[0] == 30
    assert min(counts[shown[1:]]) >= max(counts[i] for i in range(47) if i not in shown)
    assert classes_to_draw(counts[:10], 3) == list(range(10))
