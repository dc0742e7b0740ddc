"""A user's own images and labels, which are read once their shapes are known to be allowed."""

from collections.abc import Callable
from math import prod
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from lifline.data.images import LabelledImages
from lifline.data.info import CHANNELS, MAX_CLASSES
from lifline.download.limits import check_image, check_memory, check_num_classes
from lifline.errors import DataError

LABEL_BYTES = 8


class OwnParts(NamedTuple):
    """A user's own images, as their files part them."""

    train: LabelledImages
    test: LabelledImages | None
    class_names: tuple[str, ...]


class StoredArray(NamedTuple):
    """An array in a file, not yet read."""

    source: str
    """As errors name it."""

    shape: tuple[int, ...]
    """As the file's header tells."""

    itemsize: int
    """Bytes of a value while it is read."""

    read: Callable[[], NDArray[Any]]
    """Images come as uint8, labels as whole numbers."""


class StoredPart(NamedTuple):
    """Images, `[B, H, W]`, `[B, H, W, C]` or `[B, C, H, W]`, and their labels, `[B]`."""

    images: StoredArray
    labels: StoredArray


def read_parts(train: StoredPart, test: StoredPart | None, class_names: tuple[str, ...] | None) -> OwnParts:
    """Read images and labels.

    Args:
        train: to learn from.
        test: to be tested on, if there are such.
        class_names: by label; without, the classes are called 0 to the greatest label to learn from.

    Raises:
        DataError: one of them does not hold what it must, or does not go with the others.
    """
    parts = [train] if test is None else [train, test]
    _check_shapes(parts)
    names = class_names or _numbered_classes(train.labels)
    labels = [_read_labels(part.labels, len(names)) for part in parts]
    _check_no_class_is_empty(labels[0], names, train.labels.source)
    read = [LabelledImages(_read_images(part.images), each) for part, each in zip(parts, labels, strict=True)]
    return OwnParts(read[0], read[1] if test else None, names)


def _check_shapes(parts: list[StoredPart]) -> None:
    num_bytes = 0
    first = parts[0].images
    for images, labels in parts:
        if len(labels.shape) != 1:
            raise DataError(f"{labels.source} has the shape {labels.shape}, allowed is a label an image")
        if (shape := _image_shape(images)) != _image_shape(first):
            raise DataError(
                f"{images.source} has images of {shape} (channels, height, width), allowed is {_image_shape(first)}, "
                f"as in {first.source}"
            )
        num_images, num_labels = images.shape[0], labels.shape[0]
        if num_images != num_labels:
            raise DataError(
                f"{labels.source} has {num_labels:,} labels, allowed is {num_images:,}: as many as {images.source} has "
                f"images"
            )
        if not num_images:
            raise DataError(f"{images.source} has no images, allowed is 1 or more")
        num_bytes += images.itemsize * prod(images.shape) + LABEL_BYTES * num_labels
        check_memory(num_bytes, images.source)


def _image_shape(images: StoredArray) -> tuple[int, int, int]:
    """Return channels, height and width; in colour, the channels are the axis that alone can be meant."""
    match images.shape:
        case (_, height, width):
            channels = 1
        case (_, channels, height, width) if channels in CHANNELS and width not in CHANNELS:
            pass
        case (_, height, width, channels) if channels in CHANNELS and height not in CHANNELS:
            pass
        case _:
            raise DataError(
                f"{images.source} has the shape {images.shape}, allowed are (images, height, width), and (images, "
                f"height, width, channels) or (images, channels, height, width) where just one of the two can be meant"
            )
    check_image(channels, height, width, images.source)
    return channels, height, width


def _numbered_classes(labels: StoredArray) -> tuple[str, ...]:
    greatest = int(labels.read().max())
    if greatest >= MAX_CLASSES:
        raise DataError(f"{labels.source} holds the label {greatest:,}, allowed is 0 to {MAX_CLASSES - 1}")
    check_num_classes(max(greatest, 0) + 1, labels.source)
    return tuple(map(str, range(greatest + 1)))


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


def _read_images(images: StoredArray) -> torch.Tensor:
    """Read images as `[B, C, H, W]`."""
    values = images.read()
    shape = _image_shape(images)
    channels_last = values.shape[3:] == shape[:1]
    arranged = np.moveaxis(values, 3, 1) if channels_last else values.reshape(-1, *shape)
    return torch.from_numpy(np.ascontiguousarray(arranged))
