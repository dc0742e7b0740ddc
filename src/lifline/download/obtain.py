"""The data set that the params name, as one file for all stages."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from lifline.data.datasets import Dataset, load_dataset, save_dataset
from lifline.data.images import LabelledImages
from lifline.data.info import DatasetInfo
from lifline.download.own import read_own_data
from lifline.download.published import DESCRIPTION, read_published
from lifline.download.sources import fetch_published
from lifline.errors import DataError, ParamsError
from lifline.params import DataParams

FOLDER = Path("data")
"""Where published data sets are described, and from where paths to others are read."""


class _Images(NamedTuple):
    info: DatasetInfo
    train: LabelledImages
    test: LabelledImages
    source: str


def obtain_dataset(data: DataParams, path: Path, report: Callable[[str], None] = print) -> tuple[Dataset, str | None]:
    """Write the data set that the params name to `path`, whole or not at all; where it is there, nothing is done.

    Returns the data set, and who served it where it was made now. `report` is told what is done, in a line each.

    Raises:
        DataError: it cannot be had, or is not what it should be.
        ParamsError: there is no such data set, or it is too small for `data.validation_size`.
    """
    folder = FOLDER / data.dataset
    is_published = (folder / DESCRIPTION).is_file()
    if not is_published and not folder.exists():
        raise ParamsError(f"data.dataset is {data.dataset}, but {folder} is not there; allowed are {_allowed()}")
    if is_published and (known := _made_before(path, read_published(folder).info(folder.name).origin)):
        _check_size(known.info, known.train, data)
        report(f"{known.info.title} is there: {describe(known)}")
        return known, None
    made = _fetched(folder, report) if is_published else _own(folder, data)
    _check_size(made.info, made.train, data)
    save_dataset(made.info, made.train, made.test, path)
    dataset = load_dataset(path)
    report(f"{path}: {describe(dataset)}")
    return dataset, made.source


def describe(dataset: Dataset) -> str:
    """A data set in a line."""
    channels, height, width = dataset.info.shape
    kind = "grey" if channels == 1 else "colour"
    return (
        f"{len(dataset.train.labels):,} training and {len(dataset.test.labels):,} test images, {kind}, "
        f"{height} x {width} pixels, {len(dataset.info.class_names)} classes"
    )


def _allowed() -> str:
    names = sorted(path.parent.name for path in FOLDER.glob(f"*/{DESCRIPTION}"))
    return f"{', '.join(names)}, or a path from {FOLDER}/ to images of your own"


def _made_before(path: Path, origin: str) -> Dataset | None:
    with suppress(DataError):
        known = load_dataset(path)
        return known if known.info.origin == origin else None
    return None


def _fetched(folder: Path, report: Callable[[str], None]) -> _Images:
    published = read_published(folder)
    parts, source = fetch_published(folder.name, published, report)
    return _Images(published.info(folder.name), *parts, source)


def _own(path: Path, data: DataParams) -> _Images:
    return _Images(*read_own_data(path, data.test_share), data.dataset)


def _check_size(info: DatasetInfo, train: LabelledImages, data: DataParams) -> None:
    if data.validation_size >= (num_images := len(train.labels)):
        raise ParamsError(
            f"data.validation_size is {data.validation_size}, but {info.title} has {num_images} training images; "
            f"allowed is a whole number from 1 to {num_images - 1}"
        )
