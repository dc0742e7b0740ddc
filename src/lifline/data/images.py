"""Labelled images in memory, and their split for validation."""

from typing import NamedTuple

import torch
from torch import Tensor


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
    """
    parts = [part.split([len(part) - validation_size, validation_size]) for part in data]
    training, validation = zip(*parts, strict=True)
    return LabelledImages(*training), LabelledImages(*validation)
