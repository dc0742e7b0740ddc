"""MLflow's model registry: each exported network is a version of the model `lifline`."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import NamedTuple

import mlflow
from mlflow import MlflowClient
from mlflow.entities import LoggedModelStatus
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.tracking._tracking_service.utils import _use_tracking_uri

from lifline.errors import RegistryError
from lifline.tracking import store as tracking_store
from lifline.tracking.evidence import Decision, read_decisions
from lifline.tracking.run import Run
from lifline.tracking.store import all_pages
from lifline.tracking.tags import MODEL_TAG
from lifline.tracking.uri import VARIABLE

NAME = "lifline"
CHAMPION = "champion"
"""The alias of the version that is in use."""

MAX_DESCRIPTION = 5000
"""Characters; MLflow's own limit."""

NOT_THERE = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE", "NOT_FOUND")
"""MLflow's codes of an error for what cannot be found, by a name or number that may be no possible one."""


class Facts(NamedTuple):
    """What decides on a version: its tags."""

    test_accuracy: float
    """Of the network, 0 to 1."""

    class_mismatches: int
    """Test images on which an ONNX or NIR file decides otherwise than the network; 0 is export's proof."""

    data_sha256: str
    """Of the data set that it was trained and tested on."""

    test_sha256: str
    """Of its test images."""

    num_steps: int
    spikes_per_image: float
    onnx_bytes: int
    energy_nanojoules: float
    """Of an image, with memory: an estimate."""

    gate_size: int = 0
    """Images that were held out of training to judge versions by; 0 where the test images do that."""


def register(run: Run, model_id: str, facts: Facts, card: str) -> str:
    """Make a logged model of a run a version; returns its number.

    Where it is a version already, that one's, which gets the new card and facts.

    Args:
        run: that made the model, or the same once more.
        model_id: of the logged model.
        facts: the version's tags.
        card: the version's description, in Markdown.
    """
    client, model_sha256, source = run.client, run.read().data.tags[MODEL_TAG], f"models:/{model_id}"
    tags = {MODEL_TAG: model_sha256} | {name: str(value) for name, value in facts._asdict().items()}
    with tracking_store.exclusive(client.tracking_uri):
        its = f"name = '{NAME}' and tags.{MODEL_TAG} = '{model_sha256}'"
        for known in all_pages(client.search_model_versions, its):
            if known.source == source:
                client.update_model_version(NAME, known.version, _fitting(card))
                for name, value in tags.items() - known.tags.items():
                    client.set_model_version_tag(NAME, known.version, name, value)
                return str(known.version)
        with tracking_store.unless_there():
            client.create_registered_model(NAME, description="Spiking networks, as ONNX and other formats.")
        with _the_global_store(client.tracking_uri):
            made = client.create_model_version(
                NAME,
                source,
                run.run_id,
                tags=tags,
                description=_fitting(card),
                model_id=model_id,
            )
    return str(made.version)


def _fitting(card: str) -> str:
    """Leave out the last sections where there is no room; a run has its params anyway."""
    while len(card) > MAX_DESCRIPTION and "\n## " in card:
        card = card.rpartition("\n## ")[0].rstrip("\n")
    return card[:MAX_DESCRIPTION]


@contextmanager
def _the_global_store(uri: str) -> Iterator[None]:
    """Let MLflow's registry find a version's model: it looks in the global store, whatever its client's is."""
    before = os.environ.get(VARIABLE)
    try:
        with _use_tracking_uri(uri):
            yield
    finally:
        if before is not None:  # MLflow has dropped it
            os.environ[VARIABLE] = before


def read_onnx(uri: str) -> bytes:
    """The ONNX file of a registered model, such as `models:/lifline@champion`.

    Raises:
        RegistryError: there is no such model, or it is not ONNX.
        TrackingError: MLflow cannot be reached.
    """
    parts = re.fullmatch(r"models:/([^/@\s]+)(?:@([^/@\s]+)|/(\d{1,18}|latest))?", uri)  # MLflow keeps 64 bits
    if not parts:
        raise RegistryError(f"model is {uri!r}; allowed are models:/NAME@ALIAS and models:/NAME/VERSION")
    with tracking_store.store() as client, TemporaryDirectory() as folder, _naming(uri):
        location = _location(client, *parts.groups())
        for file in _onnx_files(client, location):
            return Path(_download(client, file, folder)).read_bytes()
    raise RegistryError(f"{uri} has no ONNX file in {location}; `lifline champion` names one that has")


@contextmanager
def _naming(uri: str) -> Iterator[None]:
    try:
        yield
    except MlflowException as error:
        if error.error_code not in NOT_THERE:
            raise
        why = tracking_store.reason(error).rstrip(".")
        raise RegistryError(f"there is no model {uri}: {why}; `lifline champion` names one @champion") from None


def _location(client: MlflowClient, name: str, alias: str | None, version: str | None) -> str:
    """Where the files of a version are, or of a logged model, by its id."""
    if version == "latest":
        alias, version = version, None  # MLflow has that as an alias
    if alias:
        version = client.get_model_version_by_alias(name, alias).version
    if version is None:
        return str(client.get_logged_model(name).artifact_location)
    return str(client.get_model_version_download_uri(name, str(version)))


def is_whole(client: MlflowClient, version: ModelVersion) -> bool:
    """Whether a version's file is there, from an export that was not cut short."""
    location = client.get_model_version_download_uri(version.name, str(version.version))
    if not any(_onnx_files(client, location)):
        return False
    model_id = (version.source or "").removeprefix("models:/")
    try:
        return client.get_logged_model(model_id).status == LoggedModelStatus.READY
    except MlflowException as error:  # it was deleted, or never was one; its files are there
        if error.error_code not in NOT_THERE:
            raise
        return True


def _onnx_files(client: MlflowClient, location: str) -> Iterator[str]:
    return (file for file in _files(client, location) if file.endswith(".onnx"))


def _files(client: MlflowClient, location: str) -> Iterator[str]:
    for file in mlflow.artifacts.list_artifacts(artifact_uri=location, tracking_uri=client.tracking_uri):
        yield f"{location}/{PurePosixPath(file.path).name}"


def read_decisions_of(client: MlflowClient, version: ModelVersion, file: str) -> list[Decision]:
    """What a version took each image for, by one of its files; nothing where it has no such file."""
    location = client.get_model_version_download_uri(version.name, str(version.version))
    if f"{location}/{file}" not in _files(client, location):
        return []
    with TemporaryDirectory() as folder:
        content = Path(_download(client, f"{location}/{file}", folder)).read_bytes()
    with suppress(ValueError):
        return read_decisions(content)
    return []


def _download(client: MlflowClient, file: str, folder: str) -> str:
    return str(mlflow.artifacts.download_artifacts(file, dst_path=folder, tracking_uri=client.tracking_uri))
