"""Commands on what MLflow keeps: runs, and versions of the model."""

import sys
from typing import Annotated

import typer

from lifline.cli.options import READABLE, WIDE
from lifline.errors import LiflineError
from lifline.paths import working_copy

app = typer.Typer()


@app.command(epilog="Example: lifline compare 3f2a91c0 8be04d17 --only test/ --only beta")
def compare(
    runs: Annotated[
        list[str], typer.Argument(metavar="RUN RUN...", help="Ids, their beginnings, names, or numbers of versions.")
    ],
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="TEXT", help="Show what has this in its name; may be given several times."),
    ] = None,
) -> None:
    """Show how runs differ, and whether the second is better.

    That a run is better is told first, of the same test images, and of those of data.gate_size, by McNemar's exact
    test, as `lifline champion` does: p decides, and the interval is an approximation. Then come the params and metrics
    that differ, each metric with how far it is from the first run's; those of train/health/ and speed/ are shown where
    --only names them.
    Runs are those of the pipeline, of seeds and of studies; the MLflow UI lists them (`make ui`).
    """
    from rich.console import Console

    from lifline.params import read_params
    from lifline.tracking.comparison import evidence_on, find_runs, have_different_data, have_different_tests
    from lifline.tracking.tables import describe_left_out, table_of_runs

    if len(runs) < 2:  # noqa: PLR2004
        raise LiflineError(f"RUN is {runs[0]} alone; allowed are two runs or more")
    found = find_runs(runs, prefer_finished=True)
    if have_different_tests(found):
        print("the runs are of different data sets, whatever their names: what they measured cannot be compared")
    elif have_different_data(found):
        print("the runs learned from different images: only what they measured on the test images can be compared")
    if len(found) == 2:  # noqa: PLR2004
        level = read_params(working_copy() / "params.yaml").champion.level
        for images, evidence in evidence_on(*found).items():
            print(f"{images}, the second against the first: {evidence.describe(level)}")
    table = table_of_runs(found, only or [])
    left_out = describe_left_out(found, only or [])
    if table.rows:
        Console(width=None if sys.stdout.isatty() else WIDE).print(table)
    else:
        which = f" that have {' or '.join(only)} in their names" if only else " but for those below" * bool(left_out)
        print(f"the runs have the same params and metrics{which}")
    if left_out:
        print(left_out)


@app.command(epilog="Example: lifline champion --version 3")
def champion(
    version: Annotated[int | None, typer.Option(help="Of the registered model lifline; by default the best.")] = None,
    force: Annotated[
        bool, typer.Option(help="Make it the champion whatever speaks against it; that is recorded.")
    ] = False,
) -> None:
    """Make an exported model the champion: models:/lifline@champion.

    `dvc repro` registers each network that it exports. One takes the place of the champion on evidence alone: if it is
    better on the same test images, or those of data.gate_size, by McNemar's exact test, or not much worse and cheaper,
    as champion.* in params.yaml say; and if its ONNX and NIR files passed their proofs. `lifline versions` lists them.
    Without --version the most accurate of those is taken for which this is so, of those with the champion's test
    images, or where data.gate_size is above 0 of its data set; the first time of those of data.dataset. Of equally
    accurate ones it is the cheaper by champion.cost.
    """
    from lifline.params import read_params
    from lifline.tracking.champion import make_champion

    params = read_params(working_copy() / "params.yaml")
    print(make_champion(None if version is None else str(version), force, params))


@app.command(epilog="Example: lifline versions")
def versions() -> None:
    """List the versions of the registered model, the newest first."""
    from rich.console import Console

    from lifline.tracking.champion import CAVEAT, list_versions
    from lifline.tracking.store import HOW_TO_REGISTER
    from lifline.tracking.tables import table_of_versions

    listed = list_versions()
    if not listed:
        print(f"there is no version; {HOW_TO_REGISTER}")
        return
    Console(width=None if sys.stdout.isatty() else READABLE).print(table_of_versions(listed))
    if any(each.is_chosen_by_test_images for each in listed):
        print(CAVEAT)


@app.command(epilog="Example: lifline ui --port 5001")
def ui(port: Annotated[int, typer.Option(help="On 127.0.0.1.", min=1, max=65535)] = 5000) -> None:
    """Serve the MLflow UI, and print the link to the runs.

    It shows this repository's store, to this machine alone. Ctrl-C stops the server. Where MLFLOW_TRACKING_URI names a
    tracking server, that has the UI: its link is printed.
    """
    from lifline.tracking.ui import serve_ui

    serve_ui(port)
