"""What every classifier is asked for: the 10,000 test images in batches, or one at a time."""

from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path

from torch import Tensor

from lifline.data.batches import batches_in_order
from lifline.data.datasets import load_dataset

BATCH_SIZE = 500

Classify = Callable[[Tensor], Tensor]
"""Maps images `[B, 784]` to classes `[B]`."""


def all_images(classify: Classify, mnist: Path) -> Iterator[int]:
    """Classify the whole test set at each `next()`, which gives the number of classes that are right."""
    batches = list(batches_in_order(load_dataset(mnist).test, BATCH_SIZE))
    yield 0  # made ready
    while True:
        yield sum(int((classify(images.flatten(1)) == labels).sum()) for images, labels in batches)


def one_by_one(classify: Classify, mnist: Path) -> Iterator[int]:
    """Classify one test image at each `next()`, which gives its class."""
    images, _ = next(batches_in_order(load_dataset(mnist).test, BATCH_SIZE))
    yield 0
    for image in cycle(images.flatten(1).split(1)):
        yield int(classify(image))
