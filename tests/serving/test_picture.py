import os
import struct
import subprocess
import sys
import zlib
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image, ImageFilter, ImageOps
from PIL.PngImagePlugin import PngInfo

from lifline.errors import PictureError
from lifline.serving.picture import MAX_PIXELS, read_picture
from lifline.serving.predictor import Predictor
from tests.conftest import MNIST
from tests.serving.quick_model import COLOURED, FASHION

NUM_IMAGES = 20
LONGEST = 2**31 - 1
"""Of a PNG's side, in pixels."""

TURNED_LEFT, UPSIDE_DOWN = 6, 3
"""EXIF: how a picture lies that a camera took."""


def read_digit(source, **options) -> np.ndarray:
    """An image `[28, 28]`."""
    (image,) = read_picture(source, MNIST, **options)
    return image


def encoded(picture, kind="PNG", **options) -> bytes:
    content = BytesIO()
    picture.save(content, kind, **({"compress_level": 1} if kind == "PNG" else {}), **options)
    return content.getvalue()


def enlarged(image, factor=10, how=Image.Resampling.BICUBIC):
    return Image.fromarray(image).resize((28 * factor, 28 * factor), how)


def inverted(image, factor=10):
    return ImageOps.invert(enlarged(image, factor))


def on_canvas(picture, width, height, left, top):
    canvas = Image.new("L", (width, height), picture.getpixel((0, 0)))
    canvas.paste(picture, (left, top))
    return canvas


def photo(image, seed):
    """Dark ink on a paper that is unevenly lit, with noise, out of focus."""
    generator = np.random.default_rng(seed)
    ink = np.asarray(enlarged(image, 11), dtype=float) / 255
    light = 225 - np.add.outer(np.linspace(0, 25, len(ink)), np.linspace(0, 25, len(ink)))
    shot = light * (1 - 0.75 * ink) + generator.normal(0, 8, ink.shape)
    return Image.fromarray(np.clip(shot, 0, 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(1.2))


MANIPULATIONS = {
    "as it is": lambda image, _: encoded(Image.fromarray(image)),
    "enlarged": lambda image, _: encoded(enlarged(image)),
    "enlarged unevenly": lambda image, _: encoded(Image.fromarray(image).resize((93, 93))),
    "inverted": lambda image, _: encoded(inverted(image)),
    "JPEG": lambda image, _: encoded(inverted(image), "JPEG", quality=40),
    "a small JPEG": lambda image, _: encoded(inverted(image, 1), "JPEG"),
    "moved": lambda image, i: encoded(on_canvas(enlarged(image, 4), 640, 200, (37 * i) % 500, (11 * i) % 80)),
    "a speck on a poster": lambda image, i: encoded(on_canvas(Image.fromarray(image), 1300, 900, 6 * i, 4 * i)),
    "wide margins": lambda image, _: encoded(ImageOps.expand(inverted(image), 200, 255)),
    "hardly a margin": lambda image, _: encoded(inverted(image).crop(enlarged(image).getbbox())),
    "a dark frame": lambda image, _: encoded(ImageOps.expand(inverted(image), 60, 0)),
    "a light frame": lambda image, _: encoded(ImageOps.expand(enlarged(image), 60, 255), "JPEG"),
    "a paper askew on a table": lambda image, _: encoded(
        inverted(image).rotate(2, Image.Resampling.BICUBIC, expand=True, fillcolor=60), "JPEG"
    ),
    "pale": lambda image, _: encoded(enlarged(image).point(lambda grey: 100 + grey // 5)),
    "two colours": lambda image, _: encoded(enlarged(image).point(lambda grey: 255 * (grey > 110)).convert("1")),
    "light on transparent": lambda image, _: encoded(
        Image.merge("LA", (Image.new("L", (280, 280), 255), enlarged(image)))
    ),
    "a photo": lambda image, i: encoded(photo(image, i), "JPEG"),
}
LIKE_OTHERS = ("enlarged unevenly", "a small JPEG", "wide margins", "hardly a margin", "a light frame", "two colours")


@pytest.fixture(scope="module")
def originals(test_images):
    return test_images.images[:NUM_IMAGES, 0].numpy()


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=[pytest.mark.slow] * (name in LIKE_OTHERS)) for name in MANIPULATIONS],
)
def found(request, originals):
    manipulate = MANIPULATIONS[request.param]
    return np.stack([read_digit(manipulate(image, i)) for i, image in enumerate(originals)])


@pytest.mark.slow
def test_whatever_was_done_to_an_image_of_mnist_it_comes_back(originals, found):
    differences = np.abs(found - originals / 255).mean((1, 2))
    assert differences.mean() < 0.035
    assert differences.max() < 0.15


def test_whatever_was_done_to_it_a_network_reads_it_as_it_did(model, originals, found):
    predictor = Predictor(str(model))
    before, after = (
        [predictor.predict(image[None]).decided for image in images] for images in (originals / np.float32(255), found)
    )
    assert np.mean(np.array(before) == after) >= 0.9  # of 20, by a network that is right on 19 of 20


@pytest.mark.parametrize("factor", [1, 7])
def test_enlarged_without_smoothing_an_image_of_mnist_comes_back_as_it_was(originals, factor):
    found = np.stack([read_digit(encoded(enlarged(image, factor, Image.Resampling.NEAREST))) for image in originals])
    assert np.abs(found - originals / 255).mean() < 0.005  # its faintest edges are cut off


def hook(kind="L", size=100) -> Image.Image:
    """An upright stroke with a foot to the right, dark on light: no symmetry hides that it was turned."""
    picture = Image.new("L", (size, size), 255)
    for box in ((0.3, 0.2, 0.4, 0.8), (0.4, 0.7, 0.6, 0.8)):
        picture.paste(0, tuple(round(size * share) for share in box))
    if kind == "transparent":
        return Image.merge("LA", (Image.new("L", picture.size, 0), ImageOps.invert(picture)))
    if kind == "I;16":
        return Image.fromarray(np.asarray(picture, dtype=np.uint16) * 256)
    return picture.convert(kind)


def exif(orientation) -> Image.Exif:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


def animated(kind="PNG", **options) -> bytes:
    others = [Image.new("RGB", (100, 100), colour) for colour in ("red", "blue")]
    return encoded(hook("RGB"), kind, save_all=True, append_images=others, **options)


HOOKS = {
    "black and white": encoded(hook("1")),
    "colour": encoded(hook("RGB")),
    "a palette": encoded(hook("P")),
    "a palette with transparency": encoded(ImageOps.invert(hook()).convert("P"), transparency=0),
    "transparent": encoded(hook("transparent")),
    "opaque": encoded(hook("RGBA")),
    "a transparent colour": encoded(hook(), transparency=255),
    "16 bits": encoded(hook("I;16")),
    "16 bits and transparent": encoded(hook("I;16"), transparency=255 * 256),
    "animated": animated(),
    "a JPEG": encoded(hook("RGB"), "JPEG", quality=95),
    "a progressive JPEG": encoded(hook(), "JPEG", progressive=True, quality=95),
    "a JPEG for print": encoded(hook("CMYK"), "JPEG", quality=95),
    "a JPEG of several": encoded(hook("RGB"), "MPO", save_all=True, append_images=[Image.new("RGB", (9, 9))]),
    "a JPEG taken askew": encoded(
        hook().transpose(Image.Transpose.ROTATE_90), "JPEG", exif=exif(TURNED_LEFT), quality=95
    ),
    "a PNG taken upside down": encoded(hook().transpose(Image.Transpose.ROTATE_180), exif=exif(UPSIDE_DOWN)),
    "WebP": encoded(hook("RGB"), "WEBP", lossless=True),
    "an animated WebP": animated("WEBP", lossless=True),
    "a GIF": encoded(hook(), "GIF"),
    "an animated GIF": animated("GIF"),
    "a BMP": encoded(hook("RGB"), "BMP"),
    "a TIFF": encoded(hook("RGB"), "TIFF"),
    "a TIFF, compressed": encoded(hook(), "TIFF", compression="tiff_lzw"),
    "a TIFF with 16 bits": encoded(hook("I;16"), "TIFF"),
    "a TIFF for print": encoded(hook("CMYK"), "TIFF"),
    "a TIFF taken upside down": encoded(hook().transpose(Image.Transpose.ROTATE_180), "TIFF", exif=exif(UPSIDE_DOWN)),
    "large": encoded(hook(size=3000)),
}


@pytest.mark.parametrize("content", HOOKS.values(), ids=HOOKS)
def test_however_a_picture_is_stored_it_is_the_same(content):
    image = read_digit(content)
    np.testing.assert_allclose(image, read_digit(encoded(hook())), atol=0.25)
    assert image.dtype == np.float32
    assert image.max() == 1


def test_a_file_is_read_as_its_bytes_are(tmp_path):
    path = tmp_path / "hook.png"
    path.write_bytes(encoded(hook()))
    np.testing.assert_array_equal(read_digit(path), read_digit(path.read_bytes()))


@pytest.mark.parametrize("colour", ["black", "white", "grey"])
@pytest.mark.parametrize("size", [(1, 1), (2, 1), (28, 28), (700, 3)])
def test_a_picture_that_holds_nothing_is_refused(colour, size):
    with pytest.raises(PictureError, match="holds nothing: its pixels hardly differ"):
        read_digit(encoded(Image.new("RGB", size, colour)))


@pytest.mark.parametrize("alpha", [0, 255])
def test_a_blank_picture_with_transparency_is_refused(alpha):
    with pytest.raises(PictureError, match="holds nothing: its pixels hardly differ"):
        read_digit(encoded(Image.new("RGBA", (30, 30), (255, 255, 255, alpha))))


def test_a_picture_that_hardly_varies_is_refused():
    noise = np.random.default_rng(0).integers(118, 138, (300, 300), dtype=np.uint8)
    with pytest.raises(PictureError, match="holds nothing: its pixels hardly differ"):
        read_digit(encoded(Image.fromarray(noise)))


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_a_truncated_picture_is_refused(kind, share):
    content = encoded(hook(size=300), kind)
    with pytest.raises(PictureError, match="is damaged"):
        read_digit(content[: int(share * len(content))])


@pytest.mark.parametrize("content", [b"", b"hello", bytes(1000), b"\x89PNG\r\n\x1a\n", encoded(hook(), "PPM")])
def test_what_is_no_picture_is_refused(content):
    with pytest.raises(PictureError, match="not a picture; allowed are PNG, JPEG, WEBP, GIF, BMP, TIFF"):
        read_digit(content)


@pytest.mark.parametrize(
    ("start", "kind"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC"),
        (b"\0\0\0\x1cftypavif", "AVIF"),
        (b"%PDF-1.7", "PDF"),
        (b"<?xml version='1.0'?><svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
    ],
)
def test_a_picture_of_a_kind_that_is_not_read_is_refused_by_its_kind(start, kind, tmp_path):
    (tmp_path / "picture").write_bytes(start + bytes(2000))
    for source in (start + bytes(2000), tmp_path / "picture"):
        with pytest.raises(PictureError, match=f"is {kind}; allowed are PNG, JPEG"):
            read_digit(source)


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(PictureError, match=r"none\.png: No such file or directory"):
        read_digit(tmp_path / "none.png")
    with pytest.raises(PictureError, match=f"{tmp_path}: Is a directory"):
        read_digit(tmp_path)
    locked = tmp_path / "locked.png"
    locked.touch(mode=0)
    if os.access(locked, os.R_OK):
        pytest.skip("this user may read any file")
    with pytest.raises(PictureError, match=r"locked\.png: Permission denied"):
        read_digit(locked)


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width, height, pixels, *chunks) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return (
        b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")
    )


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(
    ("width", "height"), [(12_300, 12_300), (LONGEST, LONGEST), (LONGEST, 1), (1, LONGEST), (1, 25_000_000)]
)
def test_a_picture_that_claims_too_many_pixels_is_refused_unread(width, height):
    with pytest.raises(PictureError, match=rf"pixels; allowed are {MAX_PIXELS:,} in all"):
        read_digit(png(width, height, b""))


def test_the_limit_on_pixels_may_be_lower():
    with pytest.raises(PictureError, match="has 100 x 100 pixels; allowed are 9,999 in all"):
        read_digit(encoded(hook()), max_pixels=9_999)
    read_digit(encoded(hook()), max_pixels=10_000)


def test_a_picture_with_more_pixels_than_it_claims_costs_no_more():
    rows = b"".join(b"\0" + row.tobytes() for row in np.asarray(hook()))
    np.testing.assert_array_equal(read_digit(png(100, 100, rows + bytes(50_000_000))), read_digit(encoded(hook())))


@pytest.mark.parametrize("kind", [b"zTXt", b"iTXt"])
def test_text_that_inflates_without_bound_is_refused(kind):
    text = zlib.compress(bytes(100_000_000))
    content = b"Comment\0\0" + text if kind == b"zTXt" else b"Comment\0\1\0\0\0" + text
    with pytest.raises(PictureError, match="is damaged: Decompressed data too large"):
        read_digit(png(1, 1, b"\0\0", chunk(kind, content)))


def test_ordinary_text_does_no_harm():
    text = PngInfo()
    text.add_text("Comment", "drawn by hand " * 100, zip=True)
    np.testing.assert_array_equal(read_digit(encoded(hook(), pnginfo=text)), read_digit(encoded(hook())))


def peak_memory(path, dataset=MNIST) -> int:
    """Megabytes that a process takes at most to read a picture; a small one starts it, whose own it would inherit."""
    reading = (
        "import sys; from contextlib import suppress; from pathlib import Path\n"
        "from lifline.data.info import DatasetInfo; from lifline.errors import PictureError\n"
        "from lifline.serving.picture import read_picture\n"
        "with suppress(PictureError):\n"
        "    read_picture(Path(sys.argv[1]), DatasetInfo.model_validate_json(sys.argv[2]))"
    )
    program = (
        "import resource, subprocess, sys\n"
        f"subprocess.run([sys.executable, '-c', {reading!r}, *sys.argv[1:]], check=True)\n"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1000)"
    )
    command = [sys.executable, "-c", program, str(path), dataset.model_dump_json()]
    return int(subprocess.check_output(command, text=True, stderr=subprocess.PIPE))


@pytest.mark.slow
def test_a_picture_of_10000_by_10000_pixels_takes_little_memory(tmp_path):
    hook(size=10_000).save(tmp_path / "huge.png", compress_level=1, transparency=255)
    for dataset in (MNIST, FASHION, COLOURED):
        assert peak_memory(tmp_path / "huge.png", dataset) < 350


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["RGB", "RGBA"])
def test_a_picture_of_10000_by_10000_pixels_in_colour_takes_bounded_memory(tmp_path, kind):
    hook(size=10_000).convert(kind).save(tmp_path / "huge.png", compress_level=1)
    assert peak_memory(tmp_path / "huge.png") < 600


@pytest.mark.parametrize("height", [65_535, 25_000_000])
def test_a_picture_of_one_column_takes_no_memory_for_its_rows(tmp_path, height):
    (tmp_path / "narrow.png").write_bytes(png(1, height, bytes(2 * height)))
    assert peak_memory(tmp_path / "narrow.png") < 250


def as_image(content) -> np.ndarray | None:
    """What was read, if it was not refused."""
    try:
        image = read_digit(content)
    except PictureError:
        return None
    assert image.shape == (28, 28)
    assert image.dtype == np.float32
    assert image.min() >= 0
    assert image.max() == 1
    return image


@given(arrays(np.uint8, array_shapes(min_dims=2, max_dims=2, max_side=40)))
def test_any_picture_becomes_an_image_or_is_refused(pixels):
    as_image(encoded(Image.fromarray(pixels)))


@given(
    sides=st.tuples(st.integers(110, 490), st.integers(110, 490)),
    place=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    greys=st.tuples(st.integers(0, 255), st.integers(0, 255)).filter(lambda greys: abs(greys[0] - greys[1]) >= 30),
)
def test_where_the_digit_is_and_how_it_stands_out_makes_no_difference(sides, place, greys):
    ground, ink = greys
    canvas = Image.new("L", sides, ground)
    corner = tuple(round(share * (side - 100)) for share, side in zip(place, sides, strict=True))
    canvas.paste(ink, corner, ImageOps.invert(hook()))
    np.testing.assert_allclose(read_digit(encoded(canvas)), read_digit(encoded(hook())), atol=1e-5)


@given(
    content=st.sampled_from([*HOOKS.values()][:-1]),
    changes=st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=4),
    end=st.integers(0, 20_000),
)
def test_a_damaged_file_is_read_or_refused(content, changes, end):
    damaged = bytearray(content)
    for place, value in changes:
        damaged[place % len(damaged)] = value
    as_image(bytes(damaged[:end]))
