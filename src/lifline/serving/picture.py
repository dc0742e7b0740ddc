"""Pictures of a digit, as people have them, made into images like MNIST's."""

import warnings
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from lifline.data.datasets import MNIST
from lifline.errors import PictureError

DIGIT_SIDE = 20
"""MNIST's digits fill a box of this side; the centre of their mass is at pixel (14, 14)."""

MAX_PIXELS = 150_000_000
FORMATS = ("PNG", "JPEG")
LEAST_CONTRAST = 0.1
"""Between ground and digit, where that of black and white is 1."""

INK = 0.3
"""Share of the digit's greatest contrast from which a pixel is the digit's."""

ALL_AROUND = 0.9
"""Share of the pixels along its edges that a paper fills."""

VIEW_SIDE = 500
"""Pixels to which the longer side of a picture is reduced, at least, to look where the digit is."""

STRIP_PIXELS = 1_000_000

Grey = NDArray[np.float32]
"""Pixels `[height, width]` in [0, 1]."""

warnings.filterwarnings("ignore", module=r"PIL\.")  # what Pillow warns of is refused here, or harmless


class _Ground(NamedTuple):
    """What the digit is on."""

    lightness: float
    unevenness: float
    sign: int
    """1 where the digit is lighter than its ground, else -1."""

    def ink(self, view: Grey) -> Grey:
        """How much each pixel stands out."""
        ink: Grey = np.maximum(self.sign * (view - self.lightness) - self.unevenness, 0)
        return ink


def read_digit(source: Path | bytes, max_pixels: int = MAX_PIXELS) -> Grey:
    """An image `[28, 28]`, light on dark, of the digit in a PNG or JPEG of any size, dark on light or light on dark.

    Of an animated PNG it is the first image. What is transparent counts as white, or where all else is white, as black.

    Raises:
        PictureError: the file cannot be read, is no such picture, is damaged, is too large or holds nothing.
    """
    name = str(source) if isinstance(source, Path) else "the file"
    picture = _read(source, name, max_pixels)
    for paper in ("white", "black"):
        digit = _find_digit(_lightness(picture, paper))
        if digit is not None:
            return _like_mnist(digit)
    raise PictureError(f"{name} holds no digit: its pixels hardly differ")


def _read(source: Path | bytes, name: str, max_pixels: int) -> Image.Image:
    """The picture, upright."""
    try:
        with Image.open(source if isinstance(source, Path) else BytesIO(source), formats=FORMATS) as picture:
            if picture.width * picture.height > max_pixels:
                size = f"{picture.width} x {picture.height}"
                raise PictureError(f"{name} has {size} pixels; allowed are {max_pixels:,} in all")
            picture.draft("L", picture.size)  # a JPEG's lightness needs no colours
            ImageOps.exif_transpose(picture, in_place=True)
            return picture
    except PictureError:
        raise
    except UnidentifiedImageError:
        raise PictureError(f"{name} is not a picture; allowed are PNG and JPEG") from None
    except Image.DecompressionBombError:
        raise PictureError(f"{name} has too many pixels; allowed are {max_pixels:,} in all") from None
    except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
        raise PictureError(f"{name}: {error.strerror}") from None
    except Exception as error:  # Pillow's have no common class
        raise PictureError(f"{name} is damaged: {error}") from None


def _lightness(picture: Image.Image, paper: str) -> Image.Image:
    """The picture in 8 bits of grey, on a paper of a colour; by strips, since colours and transparency take memory."""
    lightness = Image.new("L", picture.size)
    height = max(1, STRIP_PIXELS // picture.width)
    for top in range(0, picture.height, height):
        strip = picture.crop((0, top, picture.width, min(top + height, picture.height)))
        if strip.mode.startswith("I"):
            strip = Image.fromarray((np.asarray(strip) >> 8).astype(np.uint8))
        if strip.has_transparency_data:
            coloured = strip.convert("RGBA")
            strip = Image.alpha_composite(Image.new("RGBA", coloured.size, paper), coloured)
        lightness.paste(strip.convert("L"), (0, top))
    return lightness


def _find_digit(picture: Image.Image) -> Grey | None:
    """What stands out from the ground, cut out; None where nothing does.

    A look at the whole picture tells where it is, a closer look there where it begins and ends. Where it is a paper on
    a table, or a framed picture, the digit is within.
    """
    ground = _ground(_view(picture))
    if ground is None:
        return None
    for margin in (1, 0):
        picture = _cut_out(picture, ground, margin)
    found = ground.ink(_view(picture))
    if not found.any():
        return None
    within = _find_digit(_inner(picture)) if _is_paper(found) else None
    return found if within is None else within


def _factor(picture: Image.Image) -> int:
    return max(1, max(picture.size) // VIEW_SIDE)


def _view(picture: Image.Image) -> Grey:
    return np.asarray(picture.reduce(_factor(picture)), dtype=np.float32) / np.float32(255)


def _ground(view: Grey) -> _Ground | None:
    """The ground is what the border shows."""
    border = _border(view)
    lightness = float(np.median(border))
    unevenness = 2 * float(np.median(np.abs(border - lightness)))
    lighter, darker = float(view.max()) - lightness, lightness - float(view.min())
    if max(lighter, darker) - unevenness < LEAST_CONTRAST:
        return None
    return _Ground(lightness, unevenness, 1 if lighter > darker else -1)


def _border(view: Grey) -> Grey:
    return np.concatenate([view[0], view[-1], view[:, 0], view[:, -1]])


def _cut_out(picture: Image.Image, ground: _Ground, margin: int) -> Image.Image:
    """The box around what stands out, with a margin in pixels of the view."""
    ink = ground.ink(_view(picture))
    is_digit = ink >= INK * ink.max()
    (top, bottom), (left, right) = (np.flatnonzero(is_digit.any(axis))[[0, -1]] for axis in (1, 0))
    factor = _factor(picture)
    return picture.crop(
        (
            max(0, int(left - margin) * factor),
            max(0, int(top - margin) * factor),
            min(picture.width, int(right + 1 + margin) * factor),
            min(picture.height, int(bottom + 1 + margin) * factor),
        )
    )


def _is_paper(found: Grey) -> bool:
    """Whether it goes all around, near the edges of its box, and is no upright stroke."""
    if min(found.shape) < max(found.shape) / 2:
        return False
    edges = _border(np.asarray(_inner(Image.fromarray(found))))
    return bool((edges > INK * found.max()).mean() > ALL_AROUND)


def _inner(picture: Image.Image) -> Image.Image:
    """Without its edges, which a paper that lies askew does not reach."""
    edge = max(picture.size) // 20
    return picture.crop((edge, edge, picture.width - edge, picture.height - edge))


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
