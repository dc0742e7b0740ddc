"""Runs of MLflow side by side: the params and metrics in which they differ."""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from difflib import get_close_matches
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple
from urllib.parse import quote

from mlflow import MlflowClient, entities
from mlflow.exceptions import MlflowException

from lifline.errors import TrackingError
from lifline.tracking.evidence import DECISIONS, Decision, Evidence, compare_decisions, read_decisions
from lifline.tracking.registry import NAME, NOT_THERE
from lifline.tracking.store import EXPERIMENT, all_pages, open_store, store
from lifline.tracking.uri import read_tracking_uri

SHORTEST_PREFIX = 4
MAX_DIGITS = 9
"""Of a version's number: databases refuse what is no 32-bit integer."""

MAX_LISTED = 10
MAX_PROPOSED = 5
NUM_LATEST = 1000
"""Runs whose names may be proposed."""

OF_TEST_IMAGES = ("test/", "export/")
ASIDE = ("train/health/", "speed/")
"""Metrics that are shown where they are asked for alone."""


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

    test_sha256: str | None
    """Of the test images; runs of an earlier lifline do not tell it."""


class Difference(NamedTuple):
    """A param or a metric, and what each run has, empty where it has none."""

    name: str
    values: list[str]


def find_runs(wanted: Sequence[str], prefer_finished: bool = False) -> list[ComparedRun]:
    """The runs with these ids, beginnings of ids, names, or names of DVC experiments, in this order.

    A number that is none of these is that of a version: it stands for the run that trained it.

    Args:
        wanted: what names each run.
        prefer_finished: of several runs of one name, take the one that finished, where it is just one.

    Raises:
        TrackingError: there is no such run, or several; or MLflow cannot be reached.
    """
    with store() as client:
        return [_find(client, name, prefer_finished) for name in wanted]


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
    """The metrics that are not the same in all runs, with how far each is from the first's; none of the machine's.

    Of losses that are not the same one, it is not told.
    """
    first = runs[0]
    figures = [
        {
            name: f"{value:.6g}" + _change(first.metrics.get(name, value), value) * _is_alike(name, first, run)
            for name, value in run.metrics.items()
            if not name.startswith("system/")
        }
        for run in runs
    ]
    return _differences(figures)


def _is_alike(metric: str, first: ComparedRun, run: ComparedRun) -> bool:
    """Whether a metric is of the same kind, and of the same images, in both runs."""
    is_loss = metric.startswith(("train/loss", "validation/loss", "train/iteration_loss"))
    is_same_loss = not is_loss or first.params.get("train.loss") == run.params.get("train.loss")
    are_other_images = have_different_tests if metric.startswith(OF_TEST_IMAGES) else have_different_data
    return is_same_loss and not are_other_images([first, run])


def _change(before: float, after: float) -> str:
    return f" ({after - before:+.4g})" if after != before else ""


def have_different_data(runs: Sequence[ComparedRun]) -> bool:
    """Whether runs are of different data sets, as far as that is known: a name alone does not tell."""
    return len({run.data_sha256 for run in runs} - {None}) > 1


def have_different_tests(runs: Sequence[ComparedRun]) -> bool:
    """Whether runs were tested on different images; of data whose runs do not tell theirs, these are others."""
    tests = {run.data_sha256: run.test_sha256 for run in runs if run.test_sha256}
    return len({tests.get(run.data_sha256, run.data_sha256) for run in runs if run.data_sha256}) > 1


def evidence_on(first: ComparedRun, second: ComparedRun) -> dict[str, Evidence]:
    """Compare what two runs' networks took the same images for, by what the images are; nothing where there are none.

    Raises:
        TrackingError: MLflow cannot be reached.
    """
    is_same_data = first.data_sha256 == second.data_sha256
    is_same_test = first.test_sha256 is not None and first.test_sha256 == second.test_sha256
    if not (is_same_data or is_same_test):
        return {}
    with store() as client, TemporaryDirectory() as folder:
        found = {
            images: compare_decisions(*(_decisions(client, run, file, folder) for run in (first, second)))
            for images, file in DECISIONS.items()
            if is_same_data or images == "test images"  # gate images are training images, which differ
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


def _find(client: MlflowClient, wanted: str, prefer_finished: bool) -> ComparedRun:
    runs = _runs_called(client, wanted, prefer_finished) or _runs_of_version(client, wanted)
    if not runs:
        raise TrackingError(
            f"there is no run {wanted!r}; allowed are ids, their beginnings, names, and numbers of versions"
            f"{_proposed(client, wanted)}"
        )
    if len(runs) > 1:
        told = ", ".join(map(_told, runs[:MAX_LISTED]))
        raise TrackingError(f"run {wanted!r} is one of {len(runs)}: {told}; name one by its id")
    (run,) = runs
    return ComparedRun(
        run.info.run_id,
        run.info.run_name,
        run.data.params,
        run.data.metrics,
        run.info.status,
        run.data.tags.get("data_sha256"),
        run.data.tags.get("test_sha256"),
    )


def _runs_called(client: MlflowClient, wanted: str, prefer_finished: bool) -> list[entities.Run]:
    """The runs with this name, or this beginning of an id."""
    name = _quoted(wanted)
    named = _search(client, f"attributes.run_name = {name}") | _search(client, f"tags.dvc_exp_name = {name}")
    is_beginning = len(wanted) >= SHORTEST_PREFIX and wanted.isalnum()
    found = named | (_search(client, f"attributes.run_id LIKE '{wanted}%'") if is_beginning else {})
    finished = [run for run in named.values() if run.info.status == "FINISHED"]
    if prefer_finished and len(finished) == 1 and found.keys() == named.keys():
        return finished
    return list(found.values())


def _search(client: MlflowClient, condition: str) -> dict[str, entities.Run]:
    """The runs of all experiments for which this holds, by id."""
    experiments = [experiment.experiment_id for experiment in all_pages(client.search_experiments)]
    return {run.info.run_id: run for run in all_pages(client.search_runs, experiments, condition)}


def _runs_of_version(client: MlflowClient, number: str) -> list[entities.Run]:
    """The run that trained a version of the model; nothing where there is no such version, or run."""
    if not (number.isascii() and number.isdecimal() and len(number) <= MAX_DIGITS):
        return []
    try:
        return [client.get_run(client.get_model_version(NAME, number).run_id or "")]
    except MlflowException as error:
        if error.error_code not in NOT_THERE:
            raise
        return []


def _proposed(client: MlflowClient, wanted: str) -> str:
    """Names of the pipeline's runs like the one that is wanted, or else of its latest ones."""
    experiments = [each.experiment_id for each in all_pages(client.search_experiments) if each.name == EXPERIMENT]
    if not experiments:
        return ""
    runs = client.search_runs(experiments, order_by=["attributes.start_time DESC"], max_results=NUM_LATEST)
    latest = list(dict.fromkeys(run.info.run_name for run in runs))
    near = [name for name in latest if wanted and wanted.casefold() in name.casefold()]
    near = list(dict.fromkeys(near + get_close_matches(wanted, latest, MAX_PROPOSED)))
    names = ", ".join(map(repr, (near or latest)[:MAX_PROPOSED]))
    return f"; the {'nearest' if near else 'latest'}: {names}" if names else ""


def _told(run: entities.Run) -> str:
    """A run beside others of its name."""
    started = datetime.fromtimestamp(run.info.start_time / 1000).astimezone()
    return f"{run.info.run_id[:8]} {run.info.status}, of {started:%Y-%m-%d %H:%M}"


def _quoted(text: str) -> str:
    """A string of MLflow's filters, which has no way to write its own quote within."""
    if '"' in text:
        raise TrackingError(f"run is {text!r}; allowed is a name without quotes, or an id")
    return f'"{text}"'
