"""Runs of MLflow side by side: the params and metrics in which they differ."""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple
from urllib.parse import quote

from mlflow import MlflowClient, entities

from lifline.errors import TrackingError
from lifline.tracking.evidence import DECISIONS, Decision, Evidence, compare_decisions, read_decisions
from lifline.tracking.store import EXPERIMENT, all_pages, open_store, store
from lifline.tracking.uri import read_tracking_uri

SHORTEST_PREFIX = 4
MAX_LISTED = 10


class ComparedRun(NamedTuple):
    """A run as it is compared."""

    run_id: str
    name: str
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    status: str
    """FINISHED, or how else it ended; RUNNING."""

    data_sha256: str | None
    """Of the data set that it was trained and tested on."""


class Difference(NamedTuple):
    """A param or a metric, and what each run has, empty where it has none."""

    name: str
    values: list[str]


def find_runs(wanted: Sequence[str]) -> list[ComparedRun]:
    """The runs with these ids, beginnings of ids, names, or names of DVC experiments, in this order.

    Raises:
        TrackingError: there is no such run, or several; or MLflow cannot be reached.
    """
    with store() as client:
        return [_find(client, name) for name in wanted]


def newest_model(params: Mapping[str, str]) -> entities.Run | None:
    """The newest run of the pipeline that is done and tested and has these params; None where there is none.

    Raises:
        TrackingError: MLflow cannot be reached.
    """
    uri = read_tracking_uri()
    experiment_id = open_store(uri, EXPERIMENT)
    with store() as client:
        tested = "attributes.status = 'FINISHED' and metrics.`test/accuracy` >= 0"
        runs = all_pages(client.search_runs, [experiment_id], tested, order_by=["attributes.start_time DESC"])
        return next((run for run in runs if params.items() <= run.data.params.items()), None)


def comparison_page(runs: Sequence[entities.Run]) -> str:
    """The UI's page on which runs of the pipeline are compared: what follows `#/` in its address."""
    ids = json.dumps([run.info.run_id for run in runs], separators=(",", ":"))
    return f"compare-runs?runs={quote(ids)}&experiments={quote(json.dumps([runs[0].info.experiment_id]))}"


def differing_params(runs: Sequence[ComparedRun]) -> list[Difference]:
    """The params that are not the same in all runs."""
    return _differences([run.params for run in runs])


def differing_metrics(runs: Sequence[ComparedRun]) -> list[Difference]:
    """The metrics that are not the same in all runs, with how far each is from the first's; none of the machine's."""
    first = runs[0].metrics
    figures = [
        {
            name: f"{value:.6g}" + _change(first.get(name, value), value)
            for name, value in run.metrics.items()
            if not name.startswith("system/")
        }
        for run in runs
    ]
    return _differences(figures)


def _change(before: float, after: float) -> str:
    return f" ({after - before:+.4g})" if after != before else ""


def evidence_on(first: ComparedRun, second: ComparedRun) -> dict[str, Evidence]:
    """Compare what two runs' networks took the same images for, by what the images are; nothing where there are none.

    Raises:
        TrackingError: MLflow cannot be reached.
    """
    if first.data_sha256 != second.data_sha256:
        return {}
    with store() as client, TemporaryDirectory() as folder:
        found = {
            images: compare_decisions(*(_decisions(client, run, file, folder) for run in (first, second)))
            for images, file in DECISIONS.items()
        }
    return {images: evidence for images, evidence in found.items() if evidence}


def _decisions(client: MlflowClient, run: ComparedRun, name: str, folder: str) -> list[Decision]:
    if not any(file.path == name for file in client.list_artifacts(run.run_id)):
        return []
    content = Path(client.download_artifacts(run.run_id, name, folder)).read_bytes()
    with suppress(ValueError):
        return read_decisions(content)
    return []


def _differences(tables: Sequence[Mapping[str, str]]) -> list[Difference]:
    names = sorted({name for table in tables for name in table}, key=_accuracies_first)
    rows = [Difference(name, [table.get(name, "") for table in tables]) for name in names]
    return [row for row in rows if len(set(row.values)) > 1]


def _accuracies_first(name: str) -> tuple[bool, str]:
    return not name.startswith(("test/", "validation/")), name


def _find(client: MlflowClient, wanted: str) -> ComparedRun:
    conditions = [f"attributes.run_name = {_quoted(wanted)}", f"tags.dvc_exp_name = {_quoted(wanted)}"]
    if len(wanted) >= SHORTEST_PREFIX and wanted.isalnum():
        conditions.append(f"attributes.run_id LIKE '{wanted}%'")
    experiments = [experiment.experiment_id for experiment in all_pages(client.search_experiments)]
    pages = [all_pages(client.search_runs, experiments, condition) for condition in conditions]
    found = {run.info.run_id: run for page in pages for run in page}
    if not found:
        raise TrackingError(
            f"there is no run {wanted!r}; allowed are ids, their beginnings and names, as the MLflow UI shows them"
        )
    if len(found) > 1:
        ids = ", ".join(run_id[:8] for run_id in list(found)[:MAX_LISTED])
        raise TrackingError(f"run {wanted!r} is one of {len(found)}: {ids}; name one by its id")
    (run,) = found.values()
    return ComparedRun(
        run.info.run_id,
        run.info.run_name,
        run.data.params,
        run.data.metrics,
        run.info.status,
        run.data.tags.get("data_sha256"),
    )


def _quoted(text: str) -> str:
    """A string of MLflow's filters, which has no way to write its own quote within."""
    if '"' in text:
        raise TrackingError(f"run is {text!r}; allowed is a name without quotes, or an id")
    return f'"{text}"'
