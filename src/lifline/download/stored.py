"""Arrays of images and labels of which only the shapes are known, and what must hold before and after they are read."""

from collections.abc import Callable
from math import prod
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from lifline.data.images import LabelledImages
from lifline.data.info import CHANNELS, MAX_CLASSES
from lifline.download.limits import Parts, check_image, check_memory, check_num_classes
from lifline.errors import DataError

LABEL_BYTES = 8
GREY_AXES, COLOUR_AXES = 3, 4


class StoredArray(NamedTuple):
    """An array in a file, not yet read."""

    source: str
    """As errors name it."""

    shape: tuple[int, ...]
    """As the file's header tells."""

    read: Callable[[], NDArray[Any]]
    """Images come as uint8, labels as whole numbers."""


class StoredPart(NamedTuple):
    """Images, `[B, H, W]`, `[B, H, W, C]` or `[B, C, H, W]`, and their labels, `[B]`."""

    images: StoredArray
    labels: StoredArray


def read_parts(train: StoredPart, test: StoredPart | None, class_names: tuple[str, ...] | None) -> Parts:
    """Read images and labels.

    Args:
        train: to learn from.
        test: to be tested on, if there are such.
        class_names: by label; without, the classes are called 0 to the greatest label to learn from.

    Raises:
        DataError: one of them does not hold what it must, or does not go with the others.
    """
    shape = _image_shape(train.images)
    parts = [train] if test is None else [train, test]
    num_bytes = 0
    for part in parts:
        _check_counts(part)
        if _image_shape(part.images) != shape:
            raise DataError(
                f"{part.images.source} has images of {_image_shape(part.images)} (channels, height, width), allowed is "
                f"{shape}, as in {train.images.source}"
            )
        num_bytes += prod(part.images.shape) + LABEL_BYTES * part.labels.shape[0]
        check_memory(num_bytes, part.images.source)
    names = class_names or _numbered_classes(train.labels)
    read = [LabelledImages(_read_images(part.images), _read_labels(part.labels, len(names))) for part in parts]
    _check_no_class_is_empty(read[0].labels, names, train.labels.source)
    return Parts(read[0], read[1] if test else None, names)


def _image_shape(images: StoredArray) -> tuple[int, int, int]:
    """Return channels, height and width."""
    axis = _channels_axis(images)
    sides = [side for number, side in enumerate(images.shape) if number not in (0, axis)]
    shape = (1 if axis is None else images.shape[axis], *sides)
    channels, height, width = shape
    check_image(channels, height, width, images.source)
    return channels, height, width


def _channels_axis(images: StoredArray) -> int | None:
    """Find the axis of the channels: the last or the one after the first, whichever alone has as many as channels."""
    if len(images.shape) == GREY_AXES:
        return None
    if len(images.shape) == COLOUR_AXES:
        candidates = [axis for axis in (1, 3) if images.shape[axis] in CHANNELS]
        if len(candidates) == 1:
            return candidates[0]
    raise DataError(
        f"{images.source} has the shape {images.shape}, allowed are (images, height, width), and (images, height, "
        f"width, channels) or (images, channels, height, width) where just one of the two can be meant"
    )


def _check_counts(part: StoredPart) -> None:
    if len(part.labels.shape) != 1:
        raise DataError(f"{part.labels.source} has the shape {part.labels.shape}, allowed is a label an image")
    num_images, num_labels = part.images.shape[0], part.labels.shape[0]
    if num_images != num_labels:
        raise DataError(
            f"{part.labels.source} has {num_labels:,} labels, allowed is {num_images:,}: as many as "
            f"{part.images.source} has images"
        )
    if not num_images:
        raise DataError(f"{part.images.source} has no images, allowed is 1 or more")


def _numbered_classes(labels: StoredArray) -> tuple[str, ...]:
    greatest = int(labels.read().max())
    if greatest >= MAX_CLASSES:
        raise DataError(f"{labels.source} holds the label {greatest:,}, allowed is 0 to {MAX_CLASSES - 1}")
    check_num_classes(max(greatest, 0) + 1, labels.source)
    return tuple(map(str, range(greatest + 1)))


def _read_images(images: StoredArray) -> torch.Tensor:
    values = images.read()
    axis = _channels_axis(images)
    arranged = values[:, np.newaxis] if axis is None else np.moveaxis(values, axis, 1)
    return torch.from_numpy(np.ascontiguousarray(arranged))


def _read_labels(labels: StoredArray, num_classes: int) -> torch.Tensor:
    values = labels.read()
    wrong = np.flatnonzero((values < 0) | (values >= num_classes))
    if len(wrong):
        raise DataError(
            f"{labels.source} holds the label {values[wrong[0]]} for image {wrong[0]:,}, allowed is 0 to "
            f"{num_classes - 1}"
        )
    return torch.from_numpy(values.astype(np.int64))


def _check_no_class_is_empty(labels: torch.Tensor, names: tuple[str, ...], source: str) -> None:
    counts = torch.bincount(labels, minlength=len(names))
    if not counts.all():
        empty = int(counts.argmin())
        raise DataError(f"{source} has no image of the class {names[empty]!r} (label {empty}), allowed is 1 or more")
