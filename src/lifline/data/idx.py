"""Data sets on disk as IDX files: whether these are the published ones, and their decoding."""

import hashlib
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from lifline.data.datasets import Dataset, IdxFile
from lifline.data.images import LabelledImages
from lifline.errors import DataError

Subset = Literal["train", "test"]


def load_images(dataset: Dataset, folder: Path, subset: Subset) -> LabelledImages:
    """Read the images of a data set to learn from, or those to test on.

    Raises:
        DataError: a file is missing, damaged, in another's place, or not the published one.
    """
    of_images, of_labels = dataset.train if subset == "train" else dataset.test
    images, labels = _load(folder, of_images), _load(folder, of_labels).long()
    num_classes = len(dataset.class_names)
    if labels.max() >= num_classes:
        raise DataError(
            f"{folder / of_labels.name} holds the label {labels.max().item()}, allowed is 0 to {num_classes - 1}"
        )
    return LabelledImages(images.reshape(-1, *dataset.shape), labels)


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
    found = hashlib.sha256(content).hexdigest()
    if found != file.sha256:
        raise DataError(f"{source} is damaged: its SHA-256 is {found}, allowed is {file.sha256}")
    return torch.frombuffer(bytearray(content), dtype=torch.uint8)[len(header) :].reshape(file.shape)


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
