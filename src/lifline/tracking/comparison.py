"""Runs of MLflow side by side: the params and metrics in which they differ."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from mlflow import MlflowClient

from lifline.errors import TrackingError
from lifline.tracking.evidence import DECISIONS, Decision, Evidence, compare_decisions, read_decisions
from lifline.tracking.store import all_pages, store

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


def evidence_on(first: ComparedRun, second: ComparedRun) -> Evidence | None:
    """Compare what two runs' networks took the same test images for; None where they were not tested on the same ones.

    Raises:
        TrackingError: MLflow cannot be reached.
    """
    if first.data_sha256 != second.data_sha256:
        return None
    with store() as client, TemporaryDirectory() as folder:
        return compare_decisions(*(_decisions(client, run, folder) for run in (first, second)))


def _decisions(client: MlflowClient, run: ComparedRun, folder: str) -> list[Decision]:
    if not any(file.path == DECISIONS for file in client.list_artifacts(run.run_id)):
        return []
    try:
        return read_decisions(Path(client.download_artifacts(run.run_id, DECISIONS, folder)).read_bytes())
    except (OSError, ValueError):
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
