"""How a picture becomes an image like those of a data set: as its publisher made them, as far as that is known."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from lifline.choices import Preparation
from lifline.serving.character import LEAST_CONTRAST, Grey, find_character

CHARACTER_SHARE = 20 / 28
"""MNIST's digits fill a box of 20 by 20 of 28 by 28 pixels; the centre of their mass is at pixel (14, 14)."""

WORKING_SIDE = 1000
"""Pixels to which the longer side of a picture on black is reduced, at most; images have no more than 512."""

LEAST_LIGHT = 0.05
"""Share of the brightest, from which pixels stand out from a ground: that by which Fashion-MNIST's were cut out."""

NOISE = 5
"""How many times as much as the ground's pixels differ from it pixels stand out at least."""

LEAST_PIECE = 0.01
"""Share of the largest piece's pixels that a piece of an object has at least; what is smaller is a speck."""

Shape = tuple[int, int, int]
Pixels = NDArray[np.float32]
"""Of an image, `[C, H, W]`, 0 to 1."""


class Prepared(NamedTuple):
    """How pictures in RGB are prepared."""

    prepare: Callable[[Image.Image, Shape], Pixels | None]
    """Gives an image of a shape; None where the picture holds nothing."""

    papers: tuple[str, ...]
    """What is transparent counts as the first of these colours; where the picture then holds nothing, as the next."""


def as_handwriting(picture: Image.Image, shape: Shape) -> Pixels | None:
    """An image of the character in a picture of any two colours, as MNIST's are made: light, centred by its mass.

    Raises:
        PictureError: there are several characters.
    """
    character = find_character(picture)
    return None if character is None else _in_channels(_like_mnist(character, shape[1:]), shape)


def as_on_black(picture: Image.Image, shape: Shape) -> Pixels | None:
    """An image of the object in a picture, light on black, that fills the image along one side at least.

    A picture with a bright border is inverted. One that has the image's size already is otherwise left as it is.
    """
    factor = -(-max(picture.size) // WORKING_SIDE)
    grey = picture.reduce(factor).convert("L")
    levels = np.asarray(grey)
    if np.ptp(levels) < 255 * LEAST_CONTRAST:
        return None
    if np.median(_border(levels)) > 255 / 2:
        levels = 255 - levels
    pixels = levels.astype(np.float32) / np.float32(255)
    if pixels.shape == shape[1:]:
        return _in_channels(pixels, shape)
    light = _light(pixels)
    return None if light is None else _in_channels(_filling(light, shape[1:]), shape)


def as_plain(picture: Image.Image, shape: Shape) -> Pixels:
    """The whole picture; one of another size is padded as by `ImageOps.pad`, with black."""
    channels, height, width = shape
    image = picture.convert("L" if channels == 1 else "RGB")
    if image.size != (width, height):
        image = _padded(image, (width, height))
    return np.moveaxis(np.atleast_3d(np.asarray(image) / np.float32(255)), -1, 0)


PREPARATIONS: dict[Preparation, Prepared] = {
    "handwriting": Prepared(as_handwriting, ("white", "black")),
    "on_black": Prepared(as_on_black, ("white", "black")),
    "plain": Prepared(as_plain, ("black",)),  # as own pictures are read to learn from
}


def _padded(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Resize and pad with black, as `ImageOps.pad` does; but no side becomes 0."""
    (columns, rows), (width, height) = picture.size, size
    if columns * height >= rows * width:
        height = max(1, round(rows / columns * width))
    else:
        width = max(1, round(columns / rows * height))
    image = Image.new(picture.mode, size)
    place = round((size[0] - width) / 2), round((size[1] - height) / 2)
    image.paste(picture.resize((width, height), Image.Resampling.BICUBIC), place)
    return image


def _in_channels(grey: Grey, shape: Shape) -> Pixels:
    """The same in each channel."""
    return np.repeat(grey[None], shape[0], axis=0)


def _like_mnist(character: Grey, sides: tuple[int, int]) -> Grey:
    """Scale to a box of 20 by 20 pixels, then shift the centre of mass to pixel (14, 14) of 28 by 28, or as such."""
    small = _scaled(character, round(CHARACTER_SHARE * min(sides)) / max(character.shape))
    small = np.clip(small / small.max(), 0, 1)
    top, left = (_start(small.sum(axis=axis), side) for axis, side in zip((1, 0), sides, strict=True))
    return _placed(small, top, left, sides)


def _start(mass: NDArray[np.float32], side: int) -> int:
    """Where the box begins along an axis so that its mass `[length]` is centred."""
    centre = mass @ np.arange(len(mass)) / mass.sum()
    return int(np.clip(round(side / 2 - centre), 0, side - len(mass)))


def _border(grey: NDArray[Any]) -> NDArray[Any]:
    return np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])


def _light(grey: Grey) -> Grey | None:
    """What is lighter than the ground that shows at the border, 0 to 1, cut out; None where nothing is."""
    ground = np.median(_border(grey))
    light = np.clip(grey - ground, 0, None)
    highest = light.max()
    if highest < LEAST_CONTRAST:
        return None
    noise = np.median(np.abs(_border(grey) - ground))
    pieces, _ = ndimage.label(light > max(LEAST_LIGHT * highest, NOISE * noise))
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    if not sizes.any():
        return None
    rows, columns = np.nonzero(np.isin(pieces, np.flatnonzero(sizes > LEAST_PIECE * sizes.max())))
    cut_out: Grey = light[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] / highest
    return cut_out


def _filling(light: Grey, sides: tuple[int, int]) -> Grey:
    """Scale to fill an image along one side, and centre along the other, with an odd pixel before it."""
    small = _scaled(light, min(whole / side for whole, side in zip(sides, light.shape, strict=True)))
    top, left = ((whole - side + 1) // 2 for whole, side in zip(sides, small.shape, strict=True))
    return _placed(np.clip(small, 0, 1), top, left, sides)


def _scaled(grey: Grey, scale: float) -> Grey:
    height, width = (max(1, round(side * scale)) for side in grey.shape)
    how = Image.Resampling.BOX if scale < 1 else Image.Resampling.BICUBIC
    return np.asarray(Image.fromarray(grey).resize((width, height), how))


def _placed(small: Grey, top: int, left: int, sides: tuple[int, int]) -> Grey:
    """Put it on black."""
    image = np.zeros(sides, dtype=np.float32)
    image[top : top + small.shape[0], left : left + small.shape[1]] = small
    return image
