"""Data sets as values: what they hold, and the files in which they are published."""

import hashlib
import math
from typing import NamedTuple


class IdxFile(NamedTuple):
    """A file in the IDX format: its name, its shape, and the SHA-256 of its unpacked bytes.

    The format: http://yann.lecun.com/exdb/mnist/ (Y. LeCun, C. Cortes, C. Burges).
    """

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


class Dataset(NamedTuple):
    """A set of labelled images, in parts to learn from and to be tested on."""

    name: str
    """As files and runs name it."""

    title: str
    """As people name it."""

    shape: tuple[int, ...]
    """Of an image: channels, height, width."""

    class_names: tuple[str, ...]
    """By label."""

    train: tuple[IdxFile, IdxFile]
    """Images and labels."""

    test: tuple[IdxFile, IdxFile]

    source: str
    """The publisher's page."""

    @property
    def files(self) -> tuple[IdxFile, ...]:
        """All its files."""
        return (*self.train, *self.test)

    @property
    def sha256(self) -> str:
        """The SHA-256 of its files' SHA-256 sums, which identifies it."""
        return hashlib.sha256("".join(file.sha256 for file in self.files).encode()).hexdigest()


MNIST = Dataset(
    name="mnist",
    title="MNIST",
    shape=(1, 28, 28),
    class_names=tuple("0123456789"),
    train=(
        IdxFile(
            "train-images-idx3-ubyte",
            (60_000, 28, 28),
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        ),
        IdxFile(
            "train-labels-idx1-ubyte", (60_000,), "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"
        ),
    ),
    test=(
        IdxFile(
            "t10k-images-idx3-ubyte",
            (10_000, 28, 28),
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        ),
        IdxFile(
            "t10k-labels-idx1-ubyte", (10_000,), "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"
        ),
    ),
    source="http://yann.lecun.com/exdb/mnist/",
)
