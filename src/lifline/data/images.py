"""Labelled images in memory, and how the training images are split."""

from typing import NamedTuple

import torch
from torch import Tensor

from lifline.errors import DataError
from lifline.params import DataParams


class LabelledImages(NamedTuple):
    """Images, uint8 `[B, C, H, W]`, with their labels, int64 `[B]`."""

    images: Tensor
    labels: Tensor

    def to(self, device: torch.device) -> "LabelledImages":
        """Return the same images on another device."""
        return LabelledImages(self.images.to(device), self.labels.to(device))


class Split(NamedTuple):
    """The training images, parted by what they are for."""

    training: LabelledImages

    gate: LabelledImages
    """To tell versions apart; may be none."""

    validation: LabelledImages


def split_training_images(data: LabelledImages, params: DataParams) -> Split:
    """Hold out the last `validation_size` of the training images, and the `gate_size` before those.

    The parts do not depend on the seed, so that runs with different seeds are judged alike.

    Raises:
        DataError: that would leave no image to learn from.
    """
    num_images, validation_size, gate_size = len(data.labels), params.validation_size, params.gate_size
    if validation_size >= num_images:
        raise DataError(
            f"data.validation_size is {validation_size}; allowed is a whole number from 1 to {num_images - 1}, "
            "below the number of training images"
        )
    if validation_size + gate_size >= num_images:
        raise DataError(
            f"data.gate_size is {gate_size}; allowed is a whole number from 0 to {num_images - validation_size - 1}, "
            f"below the {num_images} training images less the {validation_size} of data.validation_size"
        )
    sizes = [num_images - gate_size - validation_size, gate_size, validation_size]
    images, labels = data.images.split(sizes), data.labels.split(sizes)
    return Split(*map(LabelledImages, images, labels))
