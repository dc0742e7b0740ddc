"""Images as pictures in folders, one a class."""

import os
from pathlib import Path

import torch

from lifline.data.images import LabelledImages
from lifline.download.limits import check_class_names
from lifline.download.parts import OwnParts
from lifline.download.pictures import read_pictures
from lifline.download.reading import CLASSES_FILE, listed, named, read_class_names
from lifline.errors import DataError

TRAIN, TEST = "train", "test"


def read_class_folders(folder: Path) -> OwnParts:
    """Read the pictures `train/CLASS/*` and, to be tested on, `test/CLASS/*`, all of one size.

    Classes come in order of their names, or in the one of `classes.txt`, if there. Images are grey if all pictures are.
    Files whose names start with a dot are left out.

    Raises:
        DataError: a picture cannot be read or does not go with the others, or something else lies among them.
    """
    for path in _visible(folder):
        if path.is_dir() and path.name not in (TRAIN, TEST):
            raise DataError(f"{named(path)} is not read: allowed are the folders {TRAIN} and {TEST}")
    class_names = _class_names(folder)
    train = _find_pictures(folder / TRAIN, class_names)
    if empty := set(range(len(class_names))) - set(train.values()):
        raise DataError(f"{named(folder / TRAIN / class_names[min(empty)])} has no picture, allowed is 1 or more")
    has_test = os.path.lexists(folder / TEST)
    test = _find_pictures(folder / TEST, class_names) if has_test else {}
    if has_test and not test:
        raise DataError(f"{named(folder / TEST)} has no picture, allowed is 1 or more, or no such folder")
    images, labels = read_pictures([*train, *test]), torch.tensor([*train.values(), *test.values()])
    sizes = [len(train), len(test)]
    first, rest = map(LabelledImages, images.split(sizes), labels.split(sizes))
    return OwnParts(first, rest if has_test else None, class_names)


def _class_names(folder: Path) -> tuple[str, ...]:
    found = tuple(path.name for path in _class_folders(folder / TRAIN))
    check_class_names(found, named(folder / TRAIN), "folder")
    ordered = read_class_names(folder) or found
    for name in sorted({*ordered, *found}):
        if name not in found:
            raise DataError(f"{named(folder / CLASSES_FILE)} names the class {name!r}, of which {TRAIN} has no folder")
        if name not in ordered:
            raise DataError(f"{named(folder / CLASSES_FILE)} lacks the class {name!r}, of which {TRAIN} has a folder")
    return ordered


def _find_pictures(part: Path, class_names: tuple[str, ...]) -> dict[Path, int]:
    """Find a part's pictures, each with its label."""
    labels = {name: label for label, name in enumerate(class_names)}
    folders = _class_folders(part)
    for folder in folders:
        if folder.name not in labels:
            raise DataError(f"{named(folder)} is of no class; allowed are the names of the folders in {TRAIN}")
    return {path: labels[folder.name] for folder in folders for path in _visible(folder)}


def _class_folders(part: Path) -> list[Path]:
    folders = _visible(part)
    for path in folders:
        if not path.is_dir():
            raise DataError(f"{named(path)} is no folder; allowed are folders with the pictures of a class")
    return folders


def _visible(folder: Path) -> list[Path]:
    """What is in a folder, but what systems put there, and what `lifline predict --show` draws beside a picture."""
    names_of_others = ("Thumbs.db", ".spikes.png")
    return [path for path in listed(folder) if not (path.name.startswith(".") or path.name.endswith(names_of_others))]
