"""Pictures, as people have them, read and made into images like a data set's."""

import warnings
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from lifline.data.info import DatasetInfo
from lifline.errors import PictureError
from lifline.serving.preparation import PREPARATIONS, Pixels

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


def read_picture(source: Path | bytes, dataset: DatasetInfo, max_pixels: int = MAX_PIXELS) -> Pixels:
    """An image `[C, H, W]`, 0 to 1, of what a picture of any size shows, prepared as the data set's images are.

    Of several images in a file it is the first, upright, as its camera was held.

    Raises:
        PictureError: the file cannot be read, is no such picture, is damaged, is too large, or holds nothing; of
            handwriting, too, if it holds several characters.
    """
    name = str(source) if isinstance(source, Path) else "the file"
    picture = _read(source, name, max_pixels)
    prepare, papers = PREPARATIONS[dataset.preparation]
    try:
        for paper in papers:
            image = prepare(_on_paper(picture, paper), dataset.shape)
            if image is not None:
                return image
    except PictureError as error:
        raise PictureError(f"{name} {error}") from None
    raise PictureError(f"{name} holds nothing: its pixels hardly differ")


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
