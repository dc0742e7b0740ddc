"""Labelled images in memory, and their split for validation."""

from typing import NamedTuple

import torch
from torch import Tensor

from lifline.errors import DataError


class LabelledImages(NamedTuple):
    """Images, uint8 `[B, C, H, W]`, with their labels, int64 `[B]`."""

    images: Tensor
    labels: Tensor

    def to(self, device: torch.device) -> "LabelledImages":
        """Return the same images on another device."""
        return LabelledImages(self.images.to(device), self.labels.to(device))


def split_off_validation(data: LabelledImages, validation_size: int) -> tuple[LabelledImages, LabelledImages]:
    """Part the training images in two: all but the last `validation_size`, and those.

    The parts do not depend on the seed, so that runs with different seeds are validated alike.

    Raises:
        DataError: that would leave no image to learn from.
    """
    if validation_size >= len(data.labels):
        raise DataError(
            f"data.validation_size is {validation_size}; allowed is a whole number from 1 to {len(data.labels) - 1}, "
            "below the number of training images"
        )
    parts = [part.split([len(part) - validation_size, validation_size]) for part in data]
    training, validation = zip(*parts, strict=True)
    return LabelledImages(*training), LabelledImages(*validation)
