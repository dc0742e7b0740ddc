"""MLflow's model registry: each exported network is a version of `lifline`, one of them is the champion."""

import math
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

import mlflow
from mlflow import MlflowClient
from mlflow.entities import LoggedModelStatus
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.tracking._tracking_service.utils import _use_tracking_uri

from lifline.errors import RegistryError
from lifline.tracking import store as tracking_store
from lifline.tracking.run import Run
from lifline.tracking.store import HOW_TO_REGISTER, all_pages
from lifline.tracking.tags import MODEL_TAG
from lifline.tracking.uri import VARIABLE

NAME = "lifline"
CHAMPION = "champion"
ACCURACY_TAG = "test_accuracy"
MISMATCHES_TAG = "class_mismatches"
FORCED_TAG = "champion_by_force"
MAX_DESCRIPTION = 5000
"""Characters; MLflow's own limit."""

NOT_THERE = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE", "NOT_FOUND")
"""MLflow's codes of an error for what cannot be found, by a name or number that may be no possible one."""


def register(run: Run, model_id: str, test_accuracy: float, class_mismatches: int, card: str) -> str:
    """Make a logged model of a run a version; returns its number.

    Where it is a version already, that one's, which gets the new card.

    Args:
        run: that made the model, or the same once more.
        model_id: of the logged model.
        test_accuracy: of the network, 0 to 1.
        class_mismatches: test images on which ONNX Runtime decides otherwise than the network; 0 is export's proof.
        card: the version's description, in Markdown.
    """
    client, model_sha256, source = run.client, run.read().data.tags[MODEL_TAG], f"models:/{model_id}"
    with tracking_store.exclusive(client.tracking_uri):
        its = f"name = '{NAME}' and tags.{MODEL_TAG} = '{model_sha256}'"
        for known in all_pages(client.search_model_versions, its):
            if known.source == source:
                client.update_model_version(NAME, known.version, card[:MAX_DESCRIPTION])
                return str(known.version)
        with tracking_store.unless_there():
            client.create_registered_model(NAME, description="Spiking networks, as ONNX.")
        with _the_global_store(client.tracking_uri):
            made = client.create_model_version(
                NAME,
                source,
                run.run_id,
                tags={
                    MODEL_TAG: model_sha256,
                    ACCURACY_TAG: repr(test_accuracy),
                    MISMATCHES_TAG: str(class_mismatches),
                },
                description=card[:MAX_DESCRIPTION],
                model_id=model_id,
            )
    return str(made.version)


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


def make_champion(version: str | None, force: bool) -> str:
    """Move the alias `champion` to a version, by default the newest; returns what was done.

    Raises:
        RegistryError: there is no such version, or it has no file; or it is less accurate than the champion or not
            proven, and `force` is false.
        TrackingError: MLflow cannot be reached.
    """
    with tracking_store.store() as client, tracking_store.exclusive(client.tracking_uri):
        found = all_pages(client.search_model_versions, f"name = '{NAME}'")
        versions: dict[str, ModelVersion] = {str(each.version): each for each in found}
        if not versions:
            raise RegistryError(f"the registry has no model {NAME}; {HOW_TO_REGISTER}")
        chosen = version or max(versions, key=int)
        if chosen not in versions:
            raise RegistryError(f"version is {chosen}; allowed are {', '.join(sorted(versions, key=int))}")
        if not _is_whole(client, versions[chosen]):
            raise RegistryError(f"version {chosen} has no ONNX file; {HOW_TO_REGISTER}, --version names an earlier one")
        champion = _champion(client, versions)
        if chosen == champion:
            return f"version {chosen} is the champion already"
        objection = _objection(versions, chosen, champion)
        if objection and not force:
            raise RegistryError(f"{objection}; --force makes it the champion all the same")
        if objection:
            client.set_model_version_tag(NAME, chosen, FORCED_TAG, objection)
        client.set_registered_model_alias(NAME, CHAMPION, chosen)
    accuracy = f", test accuracy {_accuracy(versions[chosen]):.2%}"
    before = f", after version {champion}" if champion else ""
    but = f" (by force: {objection})" if objection else ""
    return f"models:/{NAME}@{CHAMPION} is version {chosen}{accuracy}{before}{but}"


def read_onnx(uri: str) -> bytes:
    """The ONNX file of a registered model, such as `models:/lifline@champion`.

    Raises:
        RegistryError: there is no such model, or it is not ONNX.
        TrackingError: MLflow cannot be reached.
    """
    parts = re.fullmatch(r"models:/([^/@\s]+)(?:@([^/@\s]+)|/(\d+|latest))?", uri)
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


def _is_whole(client: MlflowClient, version: ModelVersion) -> bool:
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
    for file in mlflow.artifacts.list_artifacts(artifact_uri=location, tracking_uri=client.tracking_uri):
        if file.path.endswith(".onnx"):
            yield f"{location}/{PurePosixPath(file.path).name}"


def _download(client: MlflowClient, file: str, folder: str) -> str:
    return str(mlflow.artifacts.download_artifacts(file, dst_path=folder, tracking_uri=client.tracking_uri))


def _champion(client: MlflowClient, versions: Mapping[str, ModelVersion]) -> str | None:
    """The version that is the champion; None where there is none, or it is gone."""
    alias = str(client.get_registered_model(NAME).aliases.get(CHAMPION, ""))
    return alias if alias in versions else None


def _objection(versions: Mapping[str, ModelVersion], chosen: str, champion: str | None) -> str | None:
    if versions[chosen].tags.get(MISMATCHES_TAG) != "0":
        return f"version {chosen} did not pass export's proof that ONNX Runtime decides as the network does"
    accuracy = _accuracy(versions[chosen])
    to_beat = 0.0 if champion is None else _accuracy(versions[champion])
    if accuracy >= to_beat:
        return None
    if math.isnan(accuracy):
        return f"version {chosen} has no test accuracy"
    return f"version {chosen} has test accuracy {accuracy:.2%}, the champion, version {champion}, has {to_beat:.2%}"


def _accuracy(version: ModelVersion) -> float:
    """NaN, which is not as great as anything, where its tag is not there or no number: people can edit tags."""
    try:
        return float(version.tags[ACCURACY_TAG])
    except (KeyError, ValueError):
        return math.nan
