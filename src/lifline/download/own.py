"""A user's own images, read from disk and parted once and for all."""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from lifline.data.images import LabelledImages
from lifline.data.info import DatasetInfo
from lifline.download.arrays import read_arrays
from lifline.download.folders import TRAIN, read_class_folders
from lifline.download.idx import has_idx_files, read_idx_folder
from lifline.download.parts import OwnParts
from lifline.download.reading import listed, named
from lifline.errors import DataError

SEED = 0
"""Of the order of images to learn from, and of the choice of those to be tested on."""

MAX_DATASET_NAME = 60
"""Characters."""

UNNAMED = "own"

ALLOWED = (
    "allowed are a folder with train-images-idx3-ubyte and train-labels-idx1-ubyte, each maybe with .gz; a folder with "
    "pictures as train/CLASS/*; and an .npz file with x_train and y_train"
)

SPLIT = "data.test_share "
"""How the origin of images begins of which a share became those to be tested on."""


class OwnData(NamedTuple):
    """A user's own data set."""

    info: DatasetInfo
    train: LabelledImages
    test: LabelledImages


def read_own_data(path: Path, test_share: float) -> OwnData:
    """Read a data set: a folder of IDX files, an `.npz` file, or folders of pictures.

    Where it has no images to be tested on, a share of them, of each class, becomes these: the same of the same images,
    ever. Images to learn from are shuffled, the same way ever: sorted by class, their last ones, on which a network is
    validated, would be of one class.

    Args:
        path: of the file or the folder.
        test_share: above 0 and below 1.

    Raises:
        DataError: there is no such data set, it is damaged, or it is not allowed.
    """
    parts = _reader_of(path)(path)
    order = np.random.RandomState(SEED).permutation(len(parts.train.labels))  # which NumPy promises never to change
    test, origin = parts.test, ""
    if test is None:
        origin = split_by(test_share)
        is_test = _choose_for_test(parts.train.labels.numpy(), order, test_share)
        if not is_test.any():
            raise DataError(f"{named(path)} has one image a class, allowed are 2 or more, or some to be tested on")
        order, test = order[~is_test[order]], _taken(parts.train, np.flatnonzero(is_test))
    name = name_of(path)
    _, channels, height, width = test.images.shape
    shape = (channels, height, width)
    info = DatasetInfo(
        name=name, title=name, shape=shape, class_names=parts.class_names, preparation="plain", origin=origin
    )
    return OwnData(info, _taken(parts.train, order), test)


def split_by(test_share: float) -> str:
    """Return the origin of images of which a share became those to be tested on."""
    return f"{SPLIT}{test_share}"


def _reader_of(path: Path) -> Callable[[Path], OwnParts]:
    """Tell which kind of data set is there, and just one."""
    try:
        path.stat()
    except FileNotFoundError:
        raise DataError(f"{named(path)} is missing; {ALLOWED}") from None
    except (OSError, ValueError) as error:  # a ValueError of a character that no path has
        raise DataError(f"{named(path)} cannot be read: {getattr(error, 'strerror', error)}") from None
    if not path.is_dir():
        if path.suffix.lower() == ".npz":
            return read_arrays
        raise DataError(f"{named(path)} is no folder and no .npz file; {ALLOWED}")
    has_idx, has_pictures = has_idx_files(path), path / TRAIN in listed(path)
    if has_idx and has_pictures:
        raise DataError(f"{named(path)} has both IDX files and a folder {TRAIN}, allowed is one of them")
    if not has_idx and not has_pictures:
        raise DataError(f"{named(path)} has no images; {ALLOWED}")
    return read_idx_folder if has_idx else read_class_folders


def _choose_for_test(labels: NDArray[np.int64], order: NDArray[np.int64], share: float) -> NDArray[np.bool_]:
    """Choose as many images of each class as come close to a share, but neither none nor all."""
    is_test = np.zeros(len(labels), dtype=np.bool_)
    labels_in_order = labels[order]
    for label in range(labels.max() + 1):
        of_class = order[labels_in_order == label]
        count = min(max(1, round(share * len(of_class))), len(of_class) - 1)
        is_test[of_class[:count]] = True
    return is_test


def _taken(data: LabelledImages, chosen: NDArray[np.int64]) -> LabelledImages:
    indices = torch.from_numpy(chosen)
    return LabelledImages(data.images[indices], data.labels[indices])


def name_of(path: Path) -> str:
    """Return the name of the file or the folder, of characters that any name may have."""
    stem = Path(os.path.abspath(path))
    plain = re.sub(r"[^\w.-]+", "-", stem.name if path.is_dir() else stem.stem)
    return plain[:MAX_DATASET_NAME].strip("-.") or UNNAMED
