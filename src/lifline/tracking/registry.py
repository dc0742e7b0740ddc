"""MLflow's model registry: each exported network is a version of `lifline`, one of them is the champion."""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from lifline.errors import RegistryError
from lifline.tracking import runs as tracking
from lifline.tracking import store as tracking_store
from lifline.tracking.uri import read_tracking_uri

NAME = "lifline"
CHAMPION = "champion"
ACCURACY_TAG = "test_accuracy"
MISMATCHES_TAG = "class_mismatches"
FORCED_TAG = "champion_by_force"
MAX_DESCRIPTION = 5000
"""Characters; MLflow's own limit."""


def register(model_id: str, test_accuracy: float, class_mismatches: int, card: str) -> str:
    """Make a logged model of the active run a version; returns its number.

    Where it is a version already, that one's, which gets the new card.

    Args:
        model_id: of the logged model.
        test_accuracy: of the network, 0 to 1.
        class_mismatches: test images on which ONNX Runtime decides otherwise than the network; 0 is export's proof.
        card: the version's description, in Markdown.
    """
    client, run = tracking_store.client(), tracking.active_run()
    model_sha256, source = run.data.tags[tracking.MODEL_TAG], f"models:/{model_id}"
    with tracking_store.exclusive(read_tracking_uri()):
        its = f"name = '{NAME}' and tags.{tracking.MODEL_TAG} = '{model_sha256}'"
        for known in client.search_model_versions(its):
            if known.source == source:
                client.update_model_version(NAME, known.version, card[:MAX_DESCRIPTION])
                return str(known.version)
        with tracking_store.unless_there():
            client.create_registered_model(NAME, description="Spiking networks for MNIST, as ONNX.")
        made = client.create_model_version(
            NAME,
            source,
            run.info.run_id,
            tags={
                tracking.MODEL_TAG: model_sha256,
                ACCURACY_TAG: repr(test_accuracy),
                MISMATCHES_TAG: str(class_mismatches),
            },
            description=card[:MAX_DESCRIPTION],
            model_id=model_id,
        )
    return str(made.version)


def make_champion(version: str | None, force: bool) -> str:
    """Move the alias `champion` to a version, by default the newest; returns what was done.

    Raises:
        RegistryError: there is no such version; or it is less accurate than the champion or not proven, and `force`
            is false.
        TrackingError: MLflow cannot be reached.
    """
    with tracking_store.store() as client, tracking_store.exclusive(read_tracking_uri()):
        versions = {str(each.version): each for each in client.search_model_versions(f"name = '{NAME}'")}
        if not versions:
            raise RegistryError(f"the registry has no model {NAME}; `dvc repro` registers one")
        chosen = version or max(versions, key=int)
        if chosen not in versions:
            raise RegistryError(f"version is {chosen}; allowed are {', '.join(sorted(versions, key=int))}")
        champion = _champion(client)
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
    if not re.fullmatch(r"models:/[^/@\s]+([/@][^/@\s]+)?", uri):
        raise RegistryError(f"model is {uri!r}; allowed are models:/NAME@ALIAS and models:/NAME/VERSION")
    with tracking_store.store(), TemporaryDirectory() as folder:
        tracking.download(uri, Path(folder))
        for file in Path(folder).rglob("*.onnx"):
            return file.read_bytes()
    raise RegistryError(f"there is no ONNX file with {uri}")


def _champion(client: Any) -> str | None:
    aliases: Mapping[str, Any] = client.get_registered_model(NAME).aliases
    return str(aliases[CHAMPION]) if CHAMPION in aliases else None


def _objection(versions: Mapping[str, Any], chosen: str, champion: str | None) -> str | None:
    if versions[chosen].tags.get(MISMATCHES_TAG) != "0":
        return f"version {chosen} did not pass export's proof that ONNX Runtime decides as the network does"
    accuracy = _accuracy(versions[chosen])
    to_beat = 0.0 if champion is None else _accuracy(versions[champion])
    if accuracy >= to_beat:
        return None
    if math.isnan(accuracy):
        return f"version {chosen} has no test accuracy"
    return f"version {chosen} has test accuracy {accuracy:.2%}, the champion, version {champion}, has {to_beat:.2%}"


def _accuracy(version: Any) -> float:
    """NaN, which is not as great as anything, where its tag is not there or no number: people can edit tags."""
    try:
        return float(version.tags[ACCURACY_TAG])
    except (KeyError, ValueError):
        return math.nan
