"""Which version of the registered model is in use: it moves on evidence alone."""

import math
from collections import Counter
from collections.abc import Mapping
from pathlib import PurePath
from typing import NamedTuple

from mlflow import MlflowClient, entities
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from lifline.errors import RegistryError
from lifline.params import ChampionParams, Params
from lifline.tracking import store as tracking_store
from lifline.tracking.evidence import DECISIONS, Decision, Evidence, compare_decisions
from lifline.tracking.registry import CHAMPION, NAME, NOT_THERE, is_whole, read_decisions_of
from lifline.tracking.store import HOW_TO_REGISTER, all_pages

HOW_TO_FORCE = "`lifline champion --version N --force` takes one that was left out"
FORCED_TAG = "champion_by_force"

COST_TAGS = {"spikes": "spikes_per_image", "size": "onnx_bytes", "steps": "num_steps", "energy": "energy_nanojoules"}
"""By what `champion.cost` names."""


CAVEAT = "Versions are chosen by the test images, so that the champion's accuracy there may be too high for others."


class Verdict(NamedTuple):
    """Whether a version may be the champion, and why."""

    is_champion: bool
    reason: str


class Judged(NamedTuple):
    """A version, and what it took the images for by which it is judged."""

    version: ModelVersion
    decisions: list[Decision]


def make_champion(version: str | None, force: bool, params: Params) -> str:
    """Move the alias `champion` to a version, by default the best; returns what was done, and on what evidence.

    The best is sought among those that can be compared with the champion; where there is none, with the
    newest version of the data set of the params.

    Raises:
        RegistryError: there is no such version, or it has no file; versions are of several data sets, and none of the
            params'; or the evidence does not speak for one, or it is not proven, and `force` is false.
        TrackingError: MLflow cannot be reached.
    """
    with tracking_store.store() as client, tracking_store.exclusive(client.tracking_uri):
        versions = _versions(client)
        if not versions:
            raise RegistryError(f"the registry has no model {NAME}; {HOW_TO_REGISTER}")
        before = _champion(client, versions)
        champion = _with_decisions(client, versions[before]) if before else None
        chosen, left_out, judging = version, "", params.champion
        if chosen is None:
            reference = versions[before or _first_reference(client, versions, params.data.dataset)]
            rivals = {number: each for number, each in versions.items() if _is_rival(each, reference)}
            left_out = _left_out(client, versions, reference)
            chosen, judging = _best(client, rivals, champion, judging)
        if chosen not in versions:
            raise RegistryError(f"version is {chosen}; allowed are {', '.join(sorted(versions, key=int))}")
        if not is_whole(client, versions[chosen]):
            raise RegistryError(f"version {chosen} has no ONNX file; {HOW_TO_REGISTER}, --version names an earlier one")
        if chosen == before:
            told = "; no other is better" * (version is None)
            return f"version {chosen} is the champion already{told}{left_out}"
        verdict = _judge(client, versions[chosen], champion, judging)
        if not verdict.is_champion and not force:
            raise RegistryError(f"{verdict.reason}{left_out}; --force makes version {chosen} the champion all the same")
        if not verdict.is_champion:
            client.set_model_version_tag(NAME, chosen, FORCED_TAG, verdict.reason)
        client.set_registered_model_alias(NAME, CHAMPION, chosen)
    return (
        f"models:/{NAME}@{CHAMPION} is version {chosen}, test accuracy {_number(versions[chosen], 'test_accuracy'):.2%}"
        + (f", after version {before}" if before else "")
        + (f" (by force: {verdict.reason})" if not verdict.is_champion else f": {verdict.reason}" * bool(before))
        + f"{left_out}."
        + f" {CAVEAT}" * (not _gate_size(versions[chosen]))
    )


def _first_reference(client: MlflowClient, versions: Mapping[str, ModelVersion], dataset: str) -> str:
    """With which version others are compared before there is a champion: the newest of this data set.

    Where all are of one data set, whichever that is, the newest.
    """
    names, wanted = {number: _data_set(client, each) for number, each in versions.items()}, PurePath(dataset).name
    others = sorted(set(names.values()) - {wanted})
    if len(others) > 1 and wanted not in names.values():
        there = " and ".join(f"'{name}'" if name else "unknown data" for name in others)
        raise RegistryError(
            f"no version is of data.dataset '{wanted}', but of {there}; `lifline champion --version N` takes one"
        )
    return max((each for each, name in names.items() if name == wanted), default=max(names, key=int), key=int)


def _left_out(client: MlflowClient, versions: Mapping[str, ModelVersion], reference: ModelVersion) -> str:
    """Tell how many versions cannot be compared with this one, and of which data they are."""
    others = [each for each in versions.values() if not _is_rival(each, reference)]
    if not others:
        return ""
    name = _data_set(client, reference)
    counts = Counter(_told_apart(each, _data_set(client, each), reference, name) for each in others)
    counted = ", ".join(f"{number} of {other}" for other, number in sorted(counts.items()))
    is_unknown = not all(map(_tells_images, (reference, *others)))
    those = f"as they cannot be compared with version {reference.version} ({_named(reference, name)}): {counted}"
    return f"; left out, {those}" + f"; {HOW_TO_REGISTER}" * is_unknown + f"; {HOW_TO_FORCE}"


def _is_rival(version: ModelVersion, reference: ModelVersion) -> bool:
    """Whether both can be compared, by the same images; each version can with itself."""
    is_judged_alike = _is_judged_by_same_images(version, reference) and _gate_size(version) == _gate_size(reference)
    return is_judged_alike or version.version == reference.version


def _best(
    client: MlflowClient, versions: Mapping[str, ModelVersion], champion: Judged | None, params: ChampionParams
) -> tuple[str, ChampionParams]:
    """The most accurate version for which there is evidence, or else of all; and the level at which it is to be judged.

    The level is shared among the versions (Bonferroni): of many, luck alone would make one look better.
    """
    before = str(champion.version.version) if champion else None
    ranked = _ranked(client, versions, before, params.cost)
    others = [each for each in ranked if each != before]
    shared = params.model_copy(update={"level": params.level / max(1, len(others))})
    on_evidence = (each for each in others if _judge(client, versions[each], champion, shared).is_champion)
    return next(on_evidence, ranked[0]), shared


def _ranked(client: MlflowClient, versions: Mapping[str, ModelVersion], champion: str | None, cost: str) -> list[str]:
    """Versions that passed their proofs, or else all: the most accurate first.

    Of equal ones the champion, then the cheapest, then the newest.
    """
    proven = [each for each in versions if _is_proven(versions[each]) and is_whole(client, versions[each])]
    merits = {
        each: (_accuracy(client, versions[each]), each == champion, -_cost(versions[each], cost), int(each))
        for each in proven or versions
    }
    return sorted(merits, key=lambda each: merits[each], reverse=True)


def _accuracy(client: MlflowClient, version: ModelVersion) -> float:
    """On the images that the version is judged by; -1 where it is not known."""
    if _gate_size(version):
        decisions = _with_decisions(client, version).decisions
        return sum(each.actual == each.predicted for each in decisions) / len(decisions) if decisions else -1.0
    accuracy = _number(version, "test_accuracy")
    return -1.0 if math.isnan(accuracy) else accuracy


def _cost(version: ModelVersion, name: str) -> float:
    """What `champion.cost` names; infinite where it is not known."""
    cost = _number(version, COST_TAGS[name])
    return math.inf if math.isnan(cost) else cost


class ListedVersion(NamedTuple):
    """A version as it is listed."""

    version: str
    alias: str
    data_set: str
    """The name of the one that it was trained and tested on; empty where it is not known."""

    run: str
    """The name of the run that trained it: its recipe, and what sets it apart."""

    accuracy: float
    """On the test images, 0 to 1; NaN where it is not known."""

    spikes_per_image: float
    num_steps: float
    proof: str

    is_chosen_by_test_images: bool
    """Not by others, which were held out of training for that."""


def list_versions() -> list[ListedVersion]:
    """All versions, the newest first.

    Raises:
        TrackingError: MLflow cannot be reached.
    """
    with tracking_store.store() as client:
        versions = _versions(client)
        champion = _champion(client, versions) if versions else None
        return [_listed(client, versions[number], champion) for number in sorted(versions, key=int, reverse=True)]


def _listed(client: MlflowClient, version: ModelVersion, champion: str | None) -> ListedVersion:
    number, run = str(version.version), _run(client, version)
    return ListedVersion(
        number,
        CHAMPION if number == champion else "",
        _data_set_of(run),
        str(run.info.run_name) if run else "a run that is gone",
        _number(version, "test_accuracy"),
        _number(version, "spikes_per_image"),
        _number(version, "num_steps"),
        "passed" if _is_proven(version) else "failed",
        not _gate_size(version),
    )


def _data_set(client: MlflowClient, version: ModelVersion) -> str:
    return _data_set_of(_run(client, version))


def _data_set_of(run: entities.Run | None) -> str:
    return PurePath(run.data.params.get("data.dataset", "")).name if run else ""


def _run(client: MlflowClient, version: ModelVersion) -> entities.Run | None:
    """The run that trained a version; None where it is gone."""
    try:
        return client.get_run(version.run_id or "")
    except MlflowException as error:
        if error.error_code not in NOT_THERE:
            raise
        return None


def _named(version: ModelVersion, name: str) -> str:
    """A version's data set, of this name, as a message names it."""
    return (f"'{name}'" if name else "unknown data") + " with unknown images" * (not _data_sha256(version))


def _told_apart(version: ModelVersion, name: str, other: ModelVersion, its_name: str) -> str:
    """A version's data set, so named that it is told apart from the one of another version."""
    told = _named(version, name)
    if _is_judged_by_same_images(version, other):
        return f"{told} with data.gate_size {_gate_size(version)}, not {_gate_size(other)}"
    is_known = _data_sha256(version) and _data_sha256(other)
    return f"{told} with other images" if is_known and name == its_name else told


def _data_sha256(version: ModelVersion) -> str:
    """Empty where it is not known: earlier versions have no such tag."""
    return version.tags.get("data_sha256", "")


def _tells_images(version: ModelVersion) -> bool:
    """Whether a version tells of which data it is, and which of that are its test images."""
    return bool(_data_sha256(version) and version.tags.get("test_sha256"))


def _is_judged_by_same_images(version: ModelVersion, other: ModelVersion) -> bool:
    """Whether that is known; of two versions that do not tell it is not.

    Where the test images judge both, what they learned from may differ.
    """
    is_same, is_same_test = (
        version.tags.get(tag, "") == other.tags.get(tag, "") != "" for tag in ("data_sha256", "test_sha256")
    )
    return is_same or (is_same_test and not _gate_size(version) and not _gate_size(other))


def _is_proven(version: ModelVersion) -> bool:
    return version.tags.get("class_mismatches") == "0"


def _versions(client: MlflowClient) -> dict[str, ModelVersion]:
    found = all_pages(client.search_model_versions, f"name = '{NAME}'")
    return {str(each.version): each for each in found}


def _champion(client: MlflowClient, versions: Mapping[str, ModelVersion]) -> str | None:
    """The version that is the champion; None where there is none, or it is gone."""
    alias = str(client.get_registered_model(NAME).aliases.get(CHAMPION, ""))
    return alias if alias in versions else None


def _with_decisions(client: MlflowClient, version: ModelVersion) -> Judged:
    return Judged(version, read_decisions_of(client, version, DECISIONS[_images(version)]))


def _images(version: ModelVersion) -> str:
    """By which the version is judged."""
    return "gate images" if _gate_size(version) else "test images"


def _judge(client: MlflowClient, chosen: ModelVersion, champion: Judged | None, params: ChampionParams) -> Verdict:
    """Decide whether a version may take the champion's place, or the first one's."""
    this = f"version {chosen.version}"
    if not _is_proven(chosen):
        return Verdict(False, f"{this} did not pass export's proof that its files decide as the network does")
    if math.isnan(_number(chosen, "test_accuracy")):
        return Verdict(False, f"{this} has no test accuracy")
    if champion is None:
        return Verdict(True, "there was none")
    evidence = _evidence(client, chosen, champion)
    if evidence is None:
        return Verdict(False, _why_incomparable(client, chosen, champion.version))
    verdict = weigh(evidence, this, _cost_change(chosen, champion.version, params), params)
    return Verdict(verdict.is_champion, f"by the {_images(chosen)}, {verdict.reason}")


def _evidence(client: MlflowClient, chosen: ModelVersion, champion: Judged) -> Evidence | None:
    """How a version compares with the champion; None where they were not judged by the same images."""
    if not _is_rival(chosen, champion.version):
        return None
    return compare_decisions(champion.decisions, _with_decisions(client, chosen).decisions)


def _why_incomparable(client: MlflowClient, chosen: ModelVersion, champion: ModelVersion) -> str:
    this, before = f"version {chosen.version}", f"the champion, version {champion.version}"
    incomparable, size, its_size = f"{this} and {before}, cannot be compared", _gate_size(chosen), _gate_size(champion)
    unknown = [name for name, each in ((this, chosen), ("the champion", champion)) if not _data_sha256(each)]
    if unknown:
        which = unknown[0] if len(unknown) == 1 else "each"
        return f"{incomparable}: {which} is of unknown images; {HOW_TO_REGISTER}"
    if not _is_judged_by_same_images(chosen, champion):
        data = _data_set(client, champion)
        other = _told_apart(chosen, _data_set(client, chosen), champion, data)
        is_unknown = not (_tells_images(chosen) and _tells_images(champion))
        told = f"{this} is of another data set ({other}) than {before} ({_named(champion, data)})"
        return told + f"; {HOW_TO_REGISTER}" * is_unknown
    if size != its_size:
        return f"{incomparable}: data.gate_size is {size} of {this}, and {its_size} of the champion"
    return f"{incomparable}: one has no decisions by image, or on other {_images(chosen)}; {HOW_TO_REGISTER}"


def weigh(evidence: Evidence, this: str, cost_change: float, params: ChampionParams) -> Verdict:
    """Decide on a version by how it compares with the champion, and by how much more it costs, as a share of that."""
    told = f"{evidence.describe(params.level)}, {params.cost} {cost_change:+.0%}"
    is_told_apart = evidence.p_value < params.level
    if is_told_apart and evidence.difference > 0:
        return Verdict(True, f"{this} is better than the champion: {told}")
    if evidence.interval(params.level)[0] >= -params.margin and cost_change <= -params.min_saving:
        return Verdict(True, f"{this} is cheaper than the champion, and worse by {params.margin:.2%} at most: {told}")
    if is_told_apart:
        return Verdict(False, f"{this} is worse than the champion: {told}")
    needed = evidence.images_needed(params.level)
    as_what = "better" if evidence.difference > 0 else "worse"
    more = f"; {needed:,} images would tell it {as_what}, were that the true difference" if needed else ""
    return Verdict(False, f"no evidence that {this} is better than the champion: {told}{more}")


def _cost_change(chosen: ModelVersion, champion: ModelVersion, params: ChampionParams) -> float:
    """How much more a version costs, as a share of the champion's cost; NaN where one of them has none."""
    tag = COST_TAGS[params.cost]
    cost, before = _number(chosen, tag), _number(champion, tag)
    return cost / before - 1 if before else math.nan


def _gate_size(version: ModelVersion) -> int:
    """How many images were held out to judge the version by; 0 where the test images do that."""
    size = version.tags.get("gate_size", "0")
    return int(size) if size.isdecimal() else 0


def _number(version: ModelVersion, tag: str) -> float:
    """NaN, which is not as great as anything, where a tag is not there or no number: people can edit tags."""
    try:
        return float(version.tags[tag])
    except (KeyError, ValueError):
        return math.nan
