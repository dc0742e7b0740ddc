"""What a data set looks like before anything learns from it: figures by which its usual faults show."""

import hashlib
import math
from typing import NamedTuple

import torch
from torch import Tensor

from lifline.data.batches import as_input
from lifline.data.datasets import Dataset
from lifline.data.images import LabelledImages

MAX_LOOKED_AT = 4_000
MAX_VALUES = 20_000_000
"""Images whose classes are guessed, and their pixels, at most."""

STANDARD_DEVIATIONS = 4


class DataFigures(NamedTuple):
    """Figures of a data set. Shares are from 0 to 1."""

    num_train: int
    num_test: int

    overlap: float
    """Share of the test images that are, pixel by pixel, among the training images."""

    brightness: dict[str, float]
    """Of each part, the brightest pixel of an image as a share of white, the mean over images."""

    agreement: float
    """Share of the training images whose label is that of the class with the nearest mean, by other images' means."""

    chance: float
    """What such a share may come to where labels say nothing of the images: that of the commonest, and `luck`."""

    luck: float
    """The part of `chance` that is luck; the fewer images, the larger, and the less their agreement tells.

    Images of many pixels are looked at in part, so that it is larger for them, too.
    """


def inspect_dataset(dataset: Dataset) -> DataFigures:
    """Look at both parts of a data set; it takes about a second for MNIST."""
    parts = {"train": dataset.train, "test": dataset.test}
    agreement, commonest, luck = _agreement(dataset.train)
    return DataFigures(
        num_train=len(dataset.train.labels),
        num_test=len(dataset.test.labels),
        overlap=_overlap(dataset.train.images, dataset.test.images),
        brightness={name: part.images.flatten(1).amax(1).double().mean().item() / 255 for name, part in parts.items()},
        agreement=agreement,
        chance=commonest + luck,
        luck=luck,
    )


def _overlap(train: Tensor, test: Tensor) -> float:
    known = {_digest(image) for image in train}
    return sum(_digest(image) in known for image in test) / max(1, len(test))


def _digest(image: Tensor) -> bytes:
    return hashlib.sha256(image.numpy().data).digest()


def _agreement(data: LabelledImages) -> tuple[float, float, float]:
    """Return how many labels a guess by the nearest class mean gets right, one by the commonest, and luck beside that.

    Images are drawn, always the same ones, since they may be in an order of their classes; half of them make the means.
    """
    total = len(data.labels)
    count = min(total, MAX_LOOKED_AT, max(2, MAX_VALUES // data.images[0].numel()))
    chosen = torch.randperm(total, generator=torch.Generator().manual_seed(0))[:count]
    pixels, labels = as_input(data.images[chosen]).flatten(1), data.labels[chosen]
    classes = labels[::2].unique()
    means = torch.stack([pixels[::2][labels[::2] == each].mean(0) for each in classes])
    guessed = classes[torch.cdist(pixels[1::2], means).argmin(1)]
    looked_at = labels[1::2]
    commonest = looked_at.bincount(minlength=1).max().item() / max(1, len(looked_at))
    luck = STANDARD_DEVIATIONS * math.sqrt(commonest * (1 - commonest) / max(1, len(looked_at)))
    return (guessed == looked_at).float().mean().item(), commonest, luck
