"""The data set that the params name, as one file for all stages."""

import sqlite3
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from dvc.exceptions import DvcException
from dvc.repo import Repo

from lifline.data.datasets import Dataset, load_dataset, save_dataset
from lifline.data.images import LabelledImages, split_training_images
from lifline.data.info import DatasetInfo
from lifline.download.own import SPLIT, name_of, read_own_data, split_by
from lifline.download.published import DESCRIPTION, read_published
from lifline.download.sources import fetch_published
from lifline.errors import DataError, ParamsError
from lifline.layers import LayersError, shapes_of
from lifline.params import Params
from lifline.paths import DATA, repository_root
from lifline.provenance import record_source

FOLDER = Path("data")
"""Where published data sets are described, and from where paths to others are read."""


def obtain_dataset(params: Params, path: Path, report: Callable[[str], None] = print) -> None:
    """Write the data set that the params name to `path`, whole or not at all.

    A published one that is there is left, and one that was there before is not fetched again; a user's own images are
    read anew. `report` is told what is done, in a line each.

    Raises:
        DataError: it cannot be had, is not what it should be, or is too small for what is held out.
        ParamsError: there is no such data set, or the network's layers do not fit its images.
    """
    place = FOLDER / params.data.dataset
    if _is_published(place):
        dataset = _obtain_published(place, params, path, report)
    elif _is_there(place):
        dataset = _obtain_own(place, params, path)
    else:
        raise ParamsError(f"data.dataset is {params.data.dataset}, but {place} is not there; allowed are {_allowed()}")
    report(f"{path}: {_describe(dataset)}")


def load_obtained(params: Params) -> Dataset:
    """Read the data set that is there, where it is the one that params name.

    Raises:
        DataError: it is missing, damaged, or another: the download stage has not run since `data.dataset`,
            `data.test_share` or a user's own images were changed.
    """
    place = FOLDER / params.data.dataset
    dataset, named = load_dataset(DATA), name_of(place)
    if dataset.info.name != named:
        raise DataError(
            f"{DATA} holds {dataset.info.name}, but data.dataset is {params.data.dataset}; `dvc repro download` makes "
            "it of that"
        )
    if _is_published(place):
        is_of_others = dataset.info != read_published(place).info(place.name)
    else:
        _check_split(dataset.info, params.data.test_share)
        is_of_others = _is_outdated(params.data.dataset)
    if is_of_others:
        raise DataError(
            f"data.dataset is {params.data.dataset}, but {DATA} was made of other images; `dvc repro download` makes "
            "it anew"
        )
    return dataset


def _check_split(info: DatasetInfo, test_share: float) -> None:
    if info.origin.startswith(SPLIT) and info.origin != split_by(test_share):
        raise DataError(
            f"{DATA} was split by {info.origin}, but it is {test_share}; `dvc repro download` splits it by that"
        )


def _is_outdated(own: str) -> bool:
    """Whether DVC sees that what the download stage last read, or wrote, is no more what is there."""
    with suppress(DvcException, OSError, sqlite3.Error), Repo() as repo:  # where it cannot tell, it is not asked
        stages = repo.stage.collect("download")
        dependencies = [each for stage in stages for each in stage.deps]
        images = [each for each in dependencies if each.def_path == own]
        made = [each for stage in stages for each in stage.outs]
        has_run = any(each.hash_info for each in dependencies)
        return has_run and any("modified" in each.status().values() for each in (*images, *made))
    return False


def _obtain_own(place: Path, params: Params, path: Path) -> Dataset:
    info, train, test = read_own_data(place, params.data.test_share)
    _check_fits(params, info, train)
    save_dataset(info, train, test, path)
    dataset = load_dataset(path)
    record_source(dataset.sha256, params.data.dataset)
    return dataset


def _obtain_published(folder: Path, params: Params, path: Path, report: Callable[[str], None]) -> Dataset:
    published = read_published(folder)
    info = published.info(folder.name)
    there, kept = _made_before(path, info), repository_root() / ".lifline" / "data" / f"{folder.name}.safetensors"
    dataset = there or _made_before(kept, info)
    if dataset is None:
        train, test, source = fetch_published(folder.name, published, report)
        save_dataset(info, train, test, kept)
        dataset = load_dataset(kept)
        record_source(dataset.sha256, source)
    _check_fits(params, info, dataset.train)
    if there is None:
        save_dataset(info, dataset.train, dataset.test, path)
    return dataset


def _check_fits(params: Params, info: DatasetInfo, train: LabelledImages) -> None:
    """Refuse params that no training on these images could begin with, before DVC takes the last model away."""
    split_training_images(train, params.data)
    try:
        shapes_of(params.network.layers, info.shape)
    except LayersError as error:
        raise ParamsError(f"network.layers {error}") from None


def _is_published(place: Path) -> bool:
    return _is_there(place / DESCRIPTION) and place.parent == FOLDER


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # of a name that no file can have
        return False


def _made_before(path: Path, info: DatasetInfo) -> Dataset | None:
    with suppress(DataError):
        known = load_dataset(path)
        return known if known.info == info else None
    return None


def _describe(dataset: Dataset) -> str:
    channels, height, width = dataset.info.shape
    kind = "grey" if channels == 1 else "colour"
    return (
        f"{dataset.info.title}, {len(dataset.train.labels):,} training and {len(dataset.test.labels):,} test images, "
        f"{kind}, {height} x {width} pixels, {len(dataset.info.class_names)} classes"
    )


def _allowed() -> str:
    names = sorted(path.parent.name for path in FOLDER.glob(f"*/{DESCRIPTION}"))
    return f"{', '.join(names)}, or a path from {FOLDER}/ to images of your own"
