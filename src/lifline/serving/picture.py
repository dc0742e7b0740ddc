"""Pictures of a digit, as people have them, made into images like MNIST's."""

import warnings
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from lifline.data.datasets import MNIST
from lifline.errors import PictureError
from lifline.serving.digit import Grey, find_digit

DIGIT_SIDE = 20
"""MNIST's digits fill a box of this side; the centre of their mass is at pixel (14, 14)."""

MAX_PIXELS = 150_000_000
MAX_SIDE = 65_535
"""A JPEG's; narrower pictures take memory for each of their rows, however short."""

FORMATS = {
    "PNG": "image/png",
    "JPEG": "image/jpeg",
    "WEBP": "image/webp",
    "GIF": "image/gif",
    "BMP": "image/bmp",
    "TIFF": "image/tiff",
}
"""What is read, by Pillow's names, and its media types."""

OTHER_FORMATS = {b"ftyphei": "HEIC", b"ftypmif1": "HEIC", b"ftypavif": "AVIF", b"%PDF-": "PDF", b"<svg": "SVG"}
"""What cameras and programs write, too, by what it begins with."""

WORKING_SIDE = 4000
"""Pixels to which the longer side of a picture is reduced, at most, before anything is looked for."""

STRIP_PIXELS = 1_000_000
NUM_FIRST_BYTES = 1000


def read_digit(source: Path | bytes, max_pixels: int = MAX_PIXELS) -> Grey:
    """An image `[28, 28]`, light on dark, of the digit in a picture of any size, in any two colours.

    Of several images in a file it is the first. What is transparent counts as white, or where all else is white, as
    black.

    Raises:
        PictureError: the file cannot be read, is no such picture, is damaged, is too large, or holds nothing or
            several digits.
    """
    name = str(source) if isinstance(source, Path) else "the file"
    picture = _read(source, name, max_pixels)
    try:
        for paper in ("white", "black"):
            digit = find_digit(_on_paper(picture, paper))
            if digit is not None:
                return _like_mnist(digit)
    except PictureError as error:
        raise PictureError(f"{name} {error}") from None
    raise PictureError(f"{name} holds no digit: its pixels hardly differ")


def _read(source: Path | bytes, name: str, max_pixels: int) -> Image.Image:
    """The picture as it is in the file, or a JPEG somewhat smaller."""
    warnings.filterwarnings("ignore", module=r"PIL\.")  # what Pillow warns of is refused here, or harmless
    try:
        with Image.open(source if isinstance(source, Path) else BytesIO(source), formats=tuple(FORMATS)) as picture:
            if picture.width * picture.height > max_pixels or max(picture.size) > MAX_SIDE:
                raise PictureError(
                    f"{name} has {picture.width} x {picture.height} pixels; allowed are {max_pixels:,} in all, and "
                    f"{MAX_SIDE:,} a side"
                )
            width, height = (side // _factor(picture) for side in picture.size)
            picture.draft(None, (max(1, width), max(1, height)))
            picture.load()
            return picture
    except PictureError:
        raise
    except UnidentifiedImageError:
        raise PictureError(f"{name} is {_kind(source)}; allowed are {', '.join(FORMATS)}") from None
    except Image.DecompressionBombError:
        raise PictureError(f"{name} has too many pixels; allowed are {max_pixels:,} in all") from None
    except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
        raise PictureError(f"{name}: {error.strerror}") from None
    except Exception as error:  # Pillow's have no common class
        raise PictureError(f"{name} is damaged: {error}") from None


def _factor(picture: Image.Image) -> int:
    return -(-max(picture.size) // WORKING_SIDE)


def _kind(source: Path | bytes) -> str:
    """What a file is that is not read."""
    if isinstance(source, Path):
        with source.open("rb") as file:
            source = file.read(NUM_FIRST_BYTES)
    start = source[:NUM_FIRST_BYTES]
    return next((kind for sign, kind in OTHER_FORMATS.items() if sign in start), "not a picture")


def _on_paper(picture: Image.Image, colour: str) -> Image.Image:
    """The picture upright, in RGB, on a paper of a colour; by strips, since colours and transparency take memory."""
    factor = _factor(picture)
    working = Image.new("RGB", (-(-picture.width // factor), -(-picture.height // factor)))
    height = factor * max(1, STRIP_PIXELS // (picture.width * factor))
    for top in range(0, picture.height, height):
        strip = picture.crop((0, top, picture.width, min(top + height, picture.height)))
        if strip.mode.startswith("I"):
            strip = Image.fromarray((np.asarray(strip) >> 8).astype(np.uint8))
        if strip.has_transparency_data:
            coloured = strip.convert("RGBA")
            strip = Image.alpha_composite(Image.new("RGBA", coloured.size, colour), coloured)
        working.paste(strip.convert("RGB").reduce(factor), (0, top // factor))
    working.info = picture.info  # it tells how the camera was held
    return ImageOps.exif_transpose(working)


def _like_mnist(digit: Grey) -> Grey:
    """Scale to a box of 20 by 20 pixels, then shift the centre of mass to pixel (14, 14) of 28 by 28."""
    scale = DIGIT_SIDE / max(digit.shape)
    height, width = (max(1, round(side * scale)) for side in digit.shape)
    how = Image.Resampling.BOX if scale < 1 else Image.Resampling.BICUBIC
    small = np.asarray(Image.fromarray(digit).resize((width, height), how))
    small = np.clip(small / small.max(), 0, 1)
    top, left = _start(small.sum(axis=1)), _start(small.sum(axis=0))
    image = np.zeros((MNIST.shape[-1], MNIST.shape[-1]), dtype=np.float32)
    image[top : top + height, left : left + width] = small
    return image


def _start(mass: NDArray[np.float32]) -> int:
    """Where the box begins along an axis so that its mass `[length]` is centred."""
    centre = mass @ np.arange(len(mass)) / mass.sum()
    return int(np.clip(round(MNIST.shape[-1] / 2 - centre), 0, MNIST.shape[-1] - len(mass)))
