"""From images in memory to the network's input: batches."""

from collections.abc import Iterator

import torch
from torch import Tensor

from lifline.data.images import LabelledImages


def shuffled_batches(
    data: LabelledImages, batch_size: int, generator: torch.Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield every image once, in an order drawn from `generator`: `[B, C, H, W]` and `[B]`; the last may be short."""
    order = torch.randperm(len(data.labels), generator=generator).to(data.labels.device)
    for chosen in order.split(batch_size):
        yield as_input(data.images[chosen]), data.labels[chosen]


def batches_in_order(data: LabelledImages, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield every image once, in order, as `[B, C, H, W]` and `[B]`; the last batch may be short."""
    for images, labels in zip(data.images.split(batch_size), data.labels.split(batch_size), strict=True):
        yield as_input(images), labels


def as_input(images: Tensor) -> Tensor:
    """Turn uint8 images into the network's input of the same shape, float32 in [0, 1]."""
    return images.float() / 255
