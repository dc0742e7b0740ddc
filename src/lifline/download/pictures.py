"""Pictures of one size, made into images."""

import time
import warnings
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn

from lifline.data.info import MAX_SIDE
from lifline.download.limits import check_image, check_memory, named, one_line, reading
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
        DataError: a picture cannot be read, is damaged, of another size than the first, or too large.
    """
    return _as_images(_read_all(paths))


def _read_all(paths: list[Path]) -> list[Pixels]:
    """Read pictures of one size."""
    columns = [TextColumn("reading pictures"), BarColumn(), MofNCompleteColumn()]
    pixels: list[Pixels] = []
    largest = 0
    with new_bar(*columns) as progress, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what Pillow warns of is refused here, or harmless
        task = progress.add_task("", total=len(paths), visible=False)
        start = time.monotonic()
        for path in paths:
            pixels.append(_read_picture(path))
            _check_size(pixels[-1], path, pixels[0], paths[0])
            if pixels[-1].size > largest:
                largest = pixels[-1].size
                check_memory(largest * len(paths), named(path))
            progress.update(task, advance=1, visible=time.monotonic() - start > MOMENT_SECONDS)
    return pixels


def _check_size(pixels: Pixels, path: Path, first: Pixels, first_path: Path) -> None:
    if pixels.shape[:2] != first.shape[:2]:
        (height, width), (first_height, first_width) = pixels.shape[:2], first.shape[:2]
        raise DataError(
            f"{named(path)} has {width} x {height} pixels, allowed is {first_width} x {first_height}, the size of "
            f"{named(first_path)}"
        )


def _as_images(pixels: list[Pixels]) -> torch.Tensor:
    """Bring pictures together as `[B, C, H, W]`."""
    channels = 3 if any(picture.ndim == 3 for picture in pixels) else 1  # noqa: PLR2004 - height, width, colours
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
    """Return a picture's pixels, grey where its mode says so or its palette has just greys."""
    if picture.mode in DEEP_GREY_MODES:
        return (np.asarray(picture) >> 8).astype(np.uint8)
    pixels = np.asarray(_on_black(picture).convert("L" if picture.mode in GREY_MODES else "RGB"))
    is_grey = picture.mode in PALETTE_MODES and (pixels == pixels[..., :1]).all()
    return pixels[..., 0] if is_grey else pixels


def _on_black(picture: Image.Image) -> Image.Image:
    if picture.has_transparency_data:
        coloured = picture.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", coloured.size, "black"), coloured)
    return picture
