"""MNIST on disk: its four IDX files, whether they are the published ones, and their decoding.

The format: http://yann.lecun.com/exdb/mnist/ (Y. LeCun, C. Cortes, C. Burges).
"""

import hashlib
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from lifline.errors import DataError

Subset = Literal["train", "test"]

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
        return len(self.header) + torch.Size(self.shape).numel()


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


class LabelledImages(NamedTuple):
    """Images, uint8 `[N, 28, 28]`, with their labels, int64 `[N]`."""

    images: Tensor
    labels: Tensor

    def to(self, device: torch.device) -> "LabelledImages":
        """The same images on another device."""
        return LabelledImages(self.images.to(device), self.labels.to(device))


def load_mnist(folder: Path, subset: Subset) -> LabelledImages:
    """Read the training or the test images.

    Raises:
        DataError: a file is missing, damaged, in another's place, or not the published one.
    """
    images, labels = (TRAIN_IMAGES, TRAIN_LABELS) if subset == "train" else (TEST_IMAGES, TEST_LABELS)
    return LabelledImages(_load(folder, images), _load(folder, labels).long())


def decode_idx(content: bytes, file: IdxFile, source: str) -> Tensor:
    """Decode the bytes of `file` to uint8 of its shape; `source` names them in errors.

    Raises:
        DataError: the bytes are not those of the published file.
    """
    header = content[: len(file.header)]
    if header != file.header:
        raise DataError(
            f"{source} is not {file.name}: it starts with {header.hex() or 'nothing'}, "
            f"allowed is {file.header.hex()} (IDX, {' x '.join(map(str, file.shape))} bytes)"
        )
    if len(content) != file.num_bytes:
        raise DataError(f"{source} is damaged: it has {len(content)} bytes, allowed is {file.num_bytes}")
    values = torch.frombuffer(bytearray(content), dtype=torch.uint8)[len(header) :].reshape(file.shape)
    if len(file.shape) == 1 and values.max() >= len(CLASS_NAMES):
        raise DataError(f"{source} is damaged: it holds the label {values.max().item()}, allowed is 0 to 9")
    found = hashlib.sha256(content).hexdigest()
    if found != file.sha256:
        raise DataError(f"{source} is damaged: its SHA-256 is {found}, allowed is {file.sha256}")
    return values


def _load(folder: Path, file: IdxFile) -> Tensor:
    path = folder / file.name
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"{path} is missing; `dvc repro download` fetches it") from None
    try:
        return decode_idx(content, file, str(path))
    except DataError as error:
        raise DataError(f"{error}; `dvc repro -f download` fetches it again") from None
