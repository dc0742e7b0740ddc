"""MNIST as it was published: its four IDX files, and what they hold.

The format: http://yann.lecun.com/exdb/mnist/ (Y. LeCun, C. Cortes, C. Burges).
"""

import hashlib
import math
from typing import NamedTuple

CLASS_NAMES = [str(digit) for digit in range(10)]
IMAGE_SIDE = 28
NUM_PIXELS = IMAGE_SIDE * IMAGE_SIDE


class IdxFile(NamedTuple):
    """One of MNIST's files: its name, its shape, and the SHA-256 of its unpacked bytes."""

    name: str
    shape: tuple[int, ...]
    sha256: str

    @property
    def header(self) -> bytes:
        """IDX header: two zero bytes, 8 for unsigned bytes, the number of axes, each axis's length."""
        return bytes([0, 0, 8, len(self.shape)]) + b"".join(length.to_bytes(4, "big") for length in self.shape)

    @property
    def num_bytes(self) -> int:
        """The length of the file."""
        return len(self.header) + math.prod(self.shape)


TRAIN_IMAGES = IdxFile(
    "train-images-idx3-ubyte",
    (60_000, IMAGE_SIDE, IMAGE_SIDE),
    "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
)
TRAIN_LABELS = IdxFile(
    "train-labels-idx1-ubyte", (60_000,), "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"
)
TEST_IMAGES = IdxFile(
    "t10k-images-idx3-ubyte",
    (10_000, IMAGE_SIDE, IMAGE_SIDE),
    "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
)
TEST_LABELS = IdxFile(
    "t10k-labels-idx1-ubyte", (10_000,), "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"
)
FILES = (TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS)
DATA_SHA256 = hashlib.sha256("".join(file.sha256 for file in FILES).encode()).hexdigest()
"""Identifies the data set: the SHA-256 of its files' SHA-256 sums."""
