"""MLflow's model registry: each exported network is a version of `lifline`, one of them is the champion."""

import re
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from lifline import tracking
from lifline.errors import RegistryError

NAME = "lifline"
CHAMPION = "champion"
ACCURACY_TAG = "test_accuracy"
PROOF_TAG = "proven_equal"
FORCED_TAG = "champion_by_force"
MAX_DESCRIPTION = 5000
"""Characters; MLflow's own limit."""


def register(model_id: str, test_accuracy: float, card: str) -> str:
    """Make a logged model of the active run, which passed export's proof, a version; returns its number.

    Where it is a version already, that one's.

    Args:
        model_id: of the logged model.
        test_accuracy: 0 to 1.
        card: the version's description, in Markdown.
    """
    client, run = tracking.client(), tracking.active_run()
    model_sha256, source = run.data.tags[tracking.MODEL_TAG], f"models:/{model_id}"
    with tracking.alone():
        its = f"name = '{NAME}' and tags.{tracking.MODEL_TAG} = '{model_sha256}'"
        for known in client.search_model_versions(its):
            if known.source == source:
                return str(known.version)
        if not client.search_registered_models(f"name = '{NAME}'"):
            client.create_registered_model(NAME, description="Spiking networks for MNIST, as ONNX.")
        made = client.create_model_version(
            NAME,
            source,
            run.info.run_id,
            tags={tracking.MODEL_TAG: model_sha256, ACCURACY_TAG: repr(test_accuracy), PROOF_TAG: "true"},
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
    with tracking.store() as client, tracking.alone():
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
    before = f", after version {champion}" if champion else ""
    return f"models:/{NAME}@{CHAMPION} is version {chosen}{before}" + (f" (by force: {objection})" if objection else "")


def read_onnx(uri: str) -> bytes:
    """The ONNX file of a registered model, such as `models:/lifline@champion`.

    Raises:
        RegistryError: there is no such model, or it is not ONNX.
        TrackingError: MLflow cannot be reached.
    """
    if not re.fullmatch(r"models:/[^/@]+([/@][^/@]+)?", uri):
        raise RegistryError(f"model is {uri!r}; allowed are models:/NAME@ALIAS and models:/NAME/VERSION")
    with tracking.store(), TemporaryDirectory() as folder:
        tracking.download(uri, Path(folder))
        for file in Path(folder).rglob("*.onnx"):
            return file.read_bytes()
    raise RegistryError(f"{uri} is not an ONNX model")


def _champion(client: Any) -> str | None:
    aliases: Mapping[str, Any] = client.get_registered_model(NAME).aliases
    return str(aliases[CHAMPION]) if CHAMPION in aliases else None


def _objection(versions: Mapping[str, Any], chosen: str, champion: str | None) -> str | None:
    tags = versions[chosen].tags
    if tags.get(PROOF_TAG) != "true" or ACCURACY_TAG not in tags:
        return f"version {chosen} did not pass export's proof"
    if champion is None or ACCURACY_TAG not in versions[champion].tags:
        return None
    accuracy, to_beat = (float(versions[each].tags[ACCURACY_TAG]) for each in (chosen, champion))
    if accuracy < to_beat:
        return f"version {chosen} has test accuracy {accuracy:.2%}, the champion, version {champion}, has {to_beat:.2%}"
    return None
