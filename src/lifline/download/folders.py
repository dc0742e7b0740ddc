"""Images as pictures in folders, one a class."""

import os
from pathlib import Path
from typing import NamedTuple

import torch

from lifline.data.images import LabelledImages
from lifline.download.limits import CLASS_NAMES, Found, Parts, check_class_names, listed, named, read_class_names
from lifline.download.pictures import read_pictures
from lifline.errors import DataError

TRAIN, TEST = "train", "test"


class Picture(NamedTuple):
    """A picture's file, and its label."""

    path: Path
    label: int


class ClassFolders(NamedTuple):
    """The pictures of a data set."""

    class_names: tuple[str, ...]
    train: list[Picture]
    test: list[Picture]
    others: list[Path]
    """Files that are read, too."""


def find_class_folders(folder: Path) -> Found:
    """Find the files that are read.

    Raises:
        DataError: something else is among them, or one is missing.
    """
    found = _find(folder)
    return Found([picture.path for picture in found.train + found.test] + found.others, bool(found.test))


def read_class_folders(folder: Path) -> Parts:
    """Read the pictures `train/CLASS/*` and, to be tested on, `test/CLASS/*`, all of one size.

    Classes come in order of their names, or in the one of `classes.txt`, if there. Images are grey if all pictures are.
    Files whose names start with a dot are left out.

    Raises:
        DataError: a picture cannot be read or does not go with the others, or something else lies among them.
    """
    found = _find(folder)
    pictures = found.train + found.test
    images = read_pictures([picture.path for picture in pictures])
    labels = torch.tensor([picture.label for picture in pictures])
    train, test = (
        LabelledImages(images[part], labels[part]) for part in (slice(len(found.train)), slice(len(found.train), None))
    )
    return Parts(train, test if found.test else None, found.class_names)


def _find(folder: Path) -> ClassFolders:
    for path in _visible(folder):
        if path.is_dir() and path.name not in (TRAIN, TEST):
            raise DataError(f"{named(path)} is not read: allowed are the folders {TRAIN} and {TEST}")
    class_names = tuple(path.name for path in _class_folders(folder / TRAIN))
    check_class_names(class_names, named(folder / TRAIN), "folder")
    others = [folder / CLASS_NAMES] * os.path.lexists(folder / CLASS_NAMES)
    if others:
        class_names = _in_order(class_names, others[0])
    train = _find_pictures(folder / TRAIN, class_names)
    not_empty = {picture.label for picture in train}
    for label, name in enumerate(class_names):
        if label not in not_empty:
            raise DataError(f"{named(folder / TRAIN / name)} has no picture, allowed is 1 or more")
    has_test = os.path.lexists(folder / TEST)
    test = _find_pictures(folder / TEST, class_names) if has_test else []
    if has_test and not test:
        raise DataError(f"{named(folder / TEST)} has no picture, allowed is 1 or more, or no such folder")
    return ClassFolders(class_names, train, test, others)


def _in_order(class_names: tuple[str, ...], path: Path) -> tuple[str, ...]:
    ordered = read_class_names(path)
    for name in sorted({*ordered, *class_names}):
        if name not in class_names:
            raise DataError(f"{named(path)} names the class {name!r}, of which {TRAIN} has no folder")
        if name not in ordered:
            raise DataError(f"{named(path)} lacks the class {name!r}, of which {TRAIN} has a folder")
    return ordered


def _find_pictures(part: Path, class_names: tuple[str, ...]) -> list[Picture]:
    labels = {name: label for label, name in enumerate(class_names)}
    pictures = []
    for of_class in _class_folders(part):
        if of_class.name not in labels:
            raise DataError(f"{named(of_class)} is of no class; allowed are the names of the folders in {TRAIN}")
        pictures += [Picture(path, labels[of_class.name]) for path in _visible(of_class)]
    return pictures


def _class_folders(part: Path) -> list[Path]:
    folders = _visible(part)
    for path in folders:
        if not path.is_dir():
            raise DataError(f"{named(path)} is no folder; allowed are folders with the pictures of a class")
    return folders


def _visible(folder: Path) -> list[Path]:
    return [path for path in listed(folder) if not path.name.startswith(".") and path.name != "Thumbs.db"]
