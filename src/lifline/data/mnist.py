"""MNIST on disk: whether its files are the published ones, and their decoding."""

import hashlib
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from lifline.data.published import CLASS_NAMES, TEST_IMAGES, TEST_LABELS, TRAIN_IMAGES, TRAIN_LABELS, IdxFile
from lifline.errors import DataError

Subset = Literal["train", "test"]


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
