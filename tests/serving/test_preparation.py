"""Pictures become images like those of data sets other than MNIST."""

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageOps

from lifline.errors import PictureError
from lifline.serving.picture import read_picture
from tests.conftest import MNIST
from tests.serving.quick_model import COLOURED, FASHION, SMALL
from tests.serving.test_picture import TURNED_LEFT, encoded, exif, hook

OUTLINES = {
    "a shirt": [(0, 6), (9, 0), (18, 0), (27, 6), (24, 11), (20, 9), (20, 27), (7, 27), (7, 9), (3, 11)],
    "trousers": [(8, 0), (19, 0), (21, 27), (16, 27), (14, 8), (12, 27), (7, 27)],
    "a boot": [(0, 6), (9, 6), (10, 12), (27, 18), (27, 22), (0, 22)],
}
"""On 28 by 28 pixels; they touch two edges, as what Fashion-MNIST shows does."""


def garment(outline) -> np.ndarray:
    """Unevenly light on black, uint8 `[28, 28]`."""
    drawn = Image.new("L", (28, 28))
    ImageDraw.Draw(drawn).polygon(outline, fill=1)
    shade = np.random.default_rng(0).integers(120, 255, (28, 28))
    shade[14, 14] = shade[8, 9] = 255
    return (np.asarray(drawn) * shade).astype(np.uint8)


def enlarged(image, factor=8) -> Image.Image:
    return Image.fromarray(image).resize((28 * factor, 28 * factor), Image.Resampling.NEAREST)


GARMENTS = {name: garment(outline) for name, outline in OUTLINES.items()}
MANIPULATIONS = {
    "enlarged": lambda image: encoded(enlarged(image)),
    "inverted": lambda image: encoded(ImageOps.invert(enlarged(image))),
    "in colour": lambda image: encoded(ImageOps.invert(enlarged(image)).convert("RGB")),
    "with wide margins": lambda image: encoded(ImageOps.expand(ImageOps.invert(enlarged(image)), (90, 30), 255)),
    "on grey": lambda image: encoded(ImageOps.expand(enlarged(image), 40).point(lambda grey: 60 + grey // 2)),
    "on bright grey": lambda image: encoded(ImageOps.expand(enlarged(image), 40).point(lambda grey: 200 - grey // 2)),
    "with specks": lambda image: encoded(with_specks(ImageOps.expand(enlarged(image), 40))),
    "a JPEG": lambda image: encoded(ImageOps.invert(enlarged(image)), "JPEG", quality=90),
    "transparent": lambda image: encoded(transparent(enlarged(image))),
    "huge": lambda image: encoded(enlarged(image, 100)),
}


def with_specks(picture) -> Image.Image:
    for place in ((2, 2), (200, 5), (5, 290)):
        picture.paste(255, (*place, place[0] + 3, place[1] + 3))
    return picture


def transparent(picture) -> Image.Image:
    """Dark on transparency."""
    return Image.merge("LA", (ImageOps.invert(picture), picture.point(lambda grey: 255 * (grey > 0))))


@pytest.mark.parametrize("image", GARMENTS.values(), ids=GARMENTS)
@pytest.mark.parametrize("manipulate", MANIPULATIONS.values(), ids=MANIPULATIONS)
def test_whatever_was_done_to_an_image_on_black_it_comes_back(image, manipulate):
    found = read_picture(manipulate(image), FASHION)
    assert found.shape == (1, 28, 28)
    assert found.dtype == np.float32
    assert np.abs(found[0] - image / np.float32(255)).mean() < 0.02


@pytest.mark.parametrize("image", GARMENTS.values(), ids=GARMENTS)
def test_of_its_own_size_an_image_on_black_is_left_as_it_is(image):
    expected = image / np.float32(255)
    np.testing.assert_array_equal(read_picture(encoded(Image.fromarray(image)), FASHION)[0], expected)
    inverted = ImageOps.invert(Image.fromarray(image))
    np.testing.assert_array_equal(read_picture(encoded(inverted), FASHION)[0], expected)


def test_what_is_long_is_centred_across():
    picture = Image.new("L", (300, 300))
    picture.paste(255, (20, 30, 60, 280))
    (image,) = read_picture(encoded(picture), FASHION)
    rows, columns = np.nonzero(image)
    assert (rows.min(), rows.max()) == (0, 27)
    assert (columns.min(), columns.max()) == (12, 15)


def test_an_image_on_black_is_not_centred_by_its_mass():
    (handwriting,), (on_black,) = (read_picture(encoded(hook()), dataset) for dataset in (MNIST, FASHION))
    assert (np.nonzero(on_black)[0].min(), np.nonzero(on_black)[0].max()) == (0, 27)
    assert (np.nonzero(handwriting)[0].min(), np.nonzero(handwriting)[0].max()) != (0, 27)


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 20, 40), (1, 56, 28), (3, 28, 28), (1, 1, 1)])
@pytest.mark.parametrize("preparation", ["handwriting", "on_black", "plain"])
def test_images_have_the_shape_of_the_data_sets(shape, preparation):
    dataset = MNIST.model_copy(update={"shape": shape, "preparation": preparation})
    image = read_picture(encoded(hook()), dataset)
    assert image.shape == shape
    assert image.dtype == np.float32
    assert 0 <= image.min() <= image.max() <= 1
    assert image.max() > image.min() or image.size == 1


@pytest.mark.parametrize("colour", ["black", "white", "grey"])
@pytest.mark.parametrize("size", [(1, 1), (28, 28), (300, 200)])
def test_a_uniform_picture_holds_no_object(colour, size):
    with pytest.raises(PictureError, match="the file holds nothing: its pixels hardly differ"):
        read_picture(encoded(Image.new("RGB", size, colour)), FASHION)


def test_what_is_darker_than_a_dark_ground_is_no_object():
    picture = Image.new("L", (100, 100), 100)
    picture.paste(0, (30, 30, 60, 60))
    with pytest.raises(PictureError, match="holds nothing"):
        read_picture(encoded(picture), FASHION)


@pytest.mark.parametrize("dataset", [COLOURED, SMALL], ids=lambda dataset: dataset.name)
def test_of_its_own_size_a_plain_picture_is_untouched(dataset):
    pixels = np.random.default_rng(0).integers(0, 256, dataset.shape, dtype=np.uint8)
    picture = Image.fromarray(np.moveaxis(pixels, 0, -1).squeeze())
    for content in (encoded(picture), encoded(picture, "BMP"), encoded(picture.convert("RGBA"))):
        np.testing.assert_array_equal(read_picture(content, dataset), pixels / np.float32(255))


def test_a_plain_picture_may_be_uniform():
    np.testing.assert_array_equal(read_picture(encoded(Image.new("RGB", (9, 9))), COLOURED), np.zeros(COLOURED.shape))


def test_a_plain_picture_of_another_size_is_resized_whole():
    left, right = (Image.new("RGB", (300, 200), colour) for colour in ("red", "blue"))
    left.paste(right, (150, 0))
    red, green, blue = image = read_picture(encoded(left), COLOURED)
    np.testing.assert_array_equal(red[1:-1, :9], 1)
    np.testing.assert_array_equal(blue[1:-1, -9:], 1)
    assert not green.any()
    assert not red[:, -9:].any()
    assert not image[:, [0, -1]].any()  # 300 by 200 pixels are 23 by 15 of 23 by 17


@pytest.mark.parametrize("size", [(90, 30), (30, 90), (640, 480), (86, 43), (5, 4), (512, 512)])
def test_a_plain_picture_is_padded_as_by_pillow(size):
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    image = read_picture(encoded(Image.fromarray(noise)), COLOURED)
    padded = ImageOps.pad(Image.fromarray(noise), (23, 17))
    np.testing.assert_array_equal(image, np.moveaxis(np.asarray(padded), -1, 0) / np.float32(255))


@pytest.mark.parametrize("size", [(1, 300), (300, 1), (1, 1)])
def test_a_plain_picture_may_be_a_line(size):
    assert read_picture(encoded(Image.new("RGB", size, "white")), COLOURED).max() == 1


def test_a_plain_picture_takes_the_channels_of_the_data_set():
    grey = read_picture(encoded(Image.new("L", (23, 17), 51)), COLOURED)
    np.testing.assert_array_equal(grey, np.full(COLOURED.shape, np.float32(0.2)))
    (green,) = read_picture(encoded(Image.new("RGB", (8, 8), (0, 255, 0))), SMALL)
    np.testing.assert_allclose(green, 0.587, atol=0.003)


def test_what_is_transparent_in_a_plain_picture_is_black():
    picture = Image.new("RGBA", (23, 17), (255, 255, 255, 0))
    assert not read_picture(encoded(picture), COLOURED).any()


def test_a_plain_picture_is_turned_as_its_camera_was_held():
    pixels = np.random.default_rng(0).integers(0, 256, (17, 23, 3), dtype=np.uint8)
    askew = Image.fromarray(pixels).transpose(Image.Transpose.ROTATE_90)
    found = read_picture(encoded(askew, exif=exif(TURNED_LEFT)), COLOURED)
    np.testing.assert_array_equal(found, np.moveaxis(pixels, -1, 0) / np.float32(255))


@pytest.mark.parametrize("dataset", [FASHION, COLOURED], ids=lambda dataset: dataset.name)
def test_what_is_no_picture_is_refused_for_any_data_set(dataset):
    for content, message in ((b"hello", "not a picture; allowed are PNG"), (encoded(hook())[:-90], "is damaged")):
        with pytest.raises(PictureError, match=message):
            read_picture(content, dataset)
    with pytest.raises(PictureError, match="has 100 x 100 pixels; allowed are 9,999 in all"):
        read_picture(encoded(hook()), dataset, max_pixels=9_999)
