"""Pictures of one size, made into images."""

import time
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn

from lifline.data.info import MAX_SIDE
from lifline.download.limits import check_image, check_memory
from lifline.download.reading import named, one_line, reading
from lifline.errors import DataError
from lifline.system.progress import new_bar

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")

DEEP_GREY_MODES = ("I;16", "I;16L", "I;16B", "I;16N")
GREY_MODES = ("1", "L", "LA", *DEEP_GREY_MODES)
PALETTE_MODES = ("P", "PA")
COLOUR_MODES = ("RGB", "RGBA", "RGBX", "CMYK", "YCbCr")
MODES = GREY_MODES + PALETTE_MODES + COLOUR_MODES
"""Pillow's."""

MOMENT_SECONDS = 1
"""What takes longer shows a bar."""

Pixels = NDArray[np.uint8]
"""Of a picture: `[H, W]`, or in colour `[H, W, 3]`."""


def read_pictures(paths: list[Path]) -> torch.Tensor:
    """Read pictures, the first frame of each: uint8 `[B, C, H, W]`, grey where all are grey, else in colour.

    They are upright, as their camera was held; what is transparent becomes black.

    Raises:
        DataError: a picture cannot be read, is damaged, not of the commonest size, or too large.
    """
    pixels: list[Pixels] = []
    sizes: list[tuple[int, ...]] = []
    largest = 0
    columns = [TextColumn("reading pictures"), BarColumn(), MofNCompleteColumn()]
    with new_bar(*columns) as progress, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what Pillow warns of is refused here, or harmless
        task = progress.add_task("", total=len(paths), visible=False)
        start = time.monotonic()
        for path in paths:
            picture = _read_picture(path)
            sizes.append(picture.shape[:2])
            if sizes[-1] == sizes[0]:  # what else comes is refused below: all sizes tell which one is odd
                pixels.append(picture)
                if picture.size > largest:  # as the first is, and the first in colour
                    largest = picture.size
                    check_memory(largest * len(paths), named(path))
            progress.update(task, advance=1, visible=time.monotonic() - start > MOMENT_SECONDS)
    _check_one_size(paths, sizes)
    return _as_images(pixels)


def _check_one_size(paths: list[Path], sizes: list[tuple[int, ...]]) -> None:
    """Refuse the first picture that is not of the commonest size, `(H, W)`."""
    usual, count = Counter(sizes).most_common(1)[0]
    for path, size in zip(paths, sizes, strict=True):
        if size != usual:
            raise DataError(
                f"{named(path)} has {size[1]} x {size[0]} pixels, allowed is one size for all: {count:,} of the "
                f'{len(sizes):,} pictures have {usual[1]} x {usual[0]}; see "Your data" in lifline\'s docs/guide.md'
            )


def _as_images(pixels: list[Pixels]) -> torch.Tensor:
    """Bring pictures together as `[B, C, H, W]`."""
    channels = max(np.atleast_3d(picture).shape[2] for picture in pixels)
    images = np.empty((len(pixels), channels, *pixels[0].shape[:2]), dtype=np.uint8)
    for image, picture in zip(images, pixels, strict=True):
        image[:] = np.moveaxis(np.atleast_3d(picture), 2, 0)
    return torch.from_numpy(images)


def _read_picture(path: Path) -> Pixels:
    with reading(path):
        try:
            with Image.open(path, formats=FORMATS) as picture:
                check_image(1, picture.height, picture.width, named(path))
                if picture.mode not in MODES:
                    raise DataError(
                        f"{named(path)} has pixels of Pillow's mode {picture.mode}, allowed are {', '.join(MODES)}"
                    )
                picture.load()
                return _pixels(ImageOps.exif_transpose(picture))
        except (DataError, PermissionError):
            raise
        except UnidentifiedImageError:
            raise DataError(f"{named(path)} is not a picture; allowed are {', '.join(FORMATS)}") from None
        except Image.DecompressionBombError:
            raise DataError(f"{named(path)} has far too many pixels, allowed is 1 to {MAX_SIDE} a side") from None
        except Exception as error:  # Pillow's have no common class
            raise DataError(f"{named(path)} is damaged: {one_line(error)}") from None


def _pixels(picture: Image.Image) -> Pixels:
    """Return a picture's pixels on black, grey where its mode says so or its palette has just greys."""
    if picture.mode in DEEP_GREY_MODES:
        return (np.asarray(picture) >> 8).astype(np.uint8)
    opaque = picture
    if picture.has_transparency_data:
        opaque = Image.alpha_composite(Image.new("RGBA", picture.size, "black"), picture.convert("RGBA"))
    pixels = np.asarray(opaque.convert("L" if picture.mode in GREY_MODES else "RGB"))
    is_grey = picture.mode in PALETTE_MODES and (pixels == pixels[..., :1]).all()
    return pixels[..., 0] if is_grey else pixels
