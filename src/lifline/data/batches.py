"""From images in memory to the network's input: splits and batches."""

from collections.abc import Iterator

import torch
from torch import Tensor

from lifline.data.mnist import LabelledImages


def split_off_validation(data: LabelledImages, validation_size: int) -> tuple[LabelledImages, LabelledImages]:
    """Part the training images in two: all but the last `validation_size`, and those.

    The parts do not depend on the seed, so that runs with different seeds are validated alike.
    """
    parts = [part.split([len(part) - validation_size, validation_size]) for part in data]
    training, validation = zip(*parts, strict=True)
    return LabelledImages(*training), LabelledImages(*validation)


def shuffled_batches(
    data: LabelledImages, batch_size: int, generator: torch.Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield every image once, in an order drawn from `generator`, as `([B, 784], [B])`; the last may be short."""
    order = torch.randperm(len(data.labels), generator=generator).to(data.labels.device)
    for chosen in order.split(batch_size):
        yield as_input(data.images[chosen]), data.labels[chosen]


def batches_in_order(data: LabelledImages, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield every image once, in order, as `([B, 784], [B])`; the last batch may be short."""
    for images, labels in zip(data.images.split(batch_size), data.labels.split(batch_size), strict=True):
        yield as_input(images), labels


def as_input(images: Tensor) -> Tensor:
    """Turn uint8 images `[B, 28, 28]` into the network's input, float32 `[B, 784]` in [0, 1]."""
    return images.flatten(1).float() / 255
