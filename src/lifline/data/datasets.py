"""A data set as a value: its images in parts to learn from and to be tested on, and what they are."""

from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from lifline.data.images import LabelledImages
from lifline.data.info import DatasetInfo
from lifline.data.tensor_file import DamagedError, pack, unpack
from lifline.errors import DataError
from lifline.system.files import write_bytes


class Dataset(NamedTuple):
    """A set of labelled images, in parts to learn from and to be tested on."""

    info: DatasetInfo
    train: LabelledImages
    test: LabelledImages

    sha256: str
    """Of all that it holds."""


def dataset_bytes(info: DatasetInfo, train: LabelledImages, test: LabelledImages) -> bytes:
    """Return what a data set's file holds; equal ones give equal bytes."""
    tensors = {
        f"{part}.{name}": tensor
        for part, data in (("train", train), ("test", test))
        for name, tensor in data._asdict().items()
    }
    return pack(tensors, info.model_dump(mode="json"))


def save_dataset(info: DatasetInfo, train: LabelledImages, test: LabelledImages, path: Path) -> None:
    """Write a data set, whole or not at all."""
    write_bytes(path, dataset_bytes(info, train, test))


def load_dataset(path: Path) -> Dataset:
    """Read a data set.

    Raises:
        DataError: the file is missing, damaged, or holds no data set.
    """
    try:
        tensors, header, sha256 = unpack(path)
        info = DatasetInfo.model_validate(header)
        train, test = (
            LabelledImages(tensors[f"{part}.images"], tensors[f"{part}.labels"]) for part in ("train", "test")
        )
    except FileNotFoundError:
        raise DataError(f"{path} is missing; `dvc repro download` makes it") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None
    except DamagedError as error:
        raise DataError(f"{path} is damaged: {error}; `dvc repro -f download` makes it again") from None
    except (ValidationError, KeyError):
        raise DataError(f"{path} holds no data set of lifline's; `dvc repro -f download` makes it again") from None
    return Dataset(info, train, test, sha256)
