"""Commands on recipes: which params, and how much of their result is luck."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from lifline.command import resumable
from lifline.errors import LiflineError
from lifline.paths import working_copy

MAX_SEEDS = 1000
SOMETHING_FOUND = 1

app = typer.Typer()


@app.command(epilog="Example: lifline preset fast")
def preset(
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="A file of presets/, without .yaml; by default all are listed."),
    ] = None,
) -> None:
    """Write a recipe into params.yaml, or list the recipes.

    What changed is shown. A recipe is for one data set, which it names, too. Comments, the seed, the device and all
    else that it does not name stay.
    `git checkout params.yaml` goes back to the committed params.
    """
    from lifline.params import read_params
    from lifline.presets import describe_presets, way_back_to_own_data, write_preset

    os.chdir(working_copy())
    if name is None:
        print(describe_presets())
        return
    before = read_params().data
    print(write_preset(name) or "params.yaml holds this preset already")
    if way_back := way_back_to_own_data(before, read_params().data):
        print(way_back, file=sys.stderr)


@app.command(epilog="Example: lifline seeds 5")
@resumable()
def seeds(
    count: Annotated[int, typer.Argument(metavar="COUNT", help="How many, from train.seed on.")],
    output: Annotated[
        Path | None, typer.Option(help="Where to write the results, as JSON; by default reports/seeds.json.")
    ] = None,
) -> None:
    """Train and evaluate the params with many seeds: mean and spread.

    The trainings are runs of MLflow's experiment lifline-seeds, under one parent. Interrupted, the same command goes
    on; with a greater COUNT it adds to what is there.
    """
    from lifline.experiments.seeds import summarize, train_seeds
    from lifline.params import read_params
    from lifline.system.files import write_json

    if not 1 <= count <= MAX_SEEDS:
        raise LiflineError(f"COUNT is {count}; allowed is a whole number from 1 to {MAX_SEEDS}")
    written = output.absolute() if output else Path("reports/seeds.json")
    os.chdir(working_copy())

    def show_start(seed: int, number: int) -> None:
        print(f"seed {seed}, {number} of {count}", flush=True)

    params, results = read_params(), []
    for result in train_seeds(params, count, show_start):
        print(f"seed {result.seed}: validation {result.validation_accuracy:.2%}, test {result.test_accuracy:.2%}")
        results.append(result)
    summary = summarize(results)
    for name, figures in summary.items():
        print(f"{name:<20}" + "  ".join(f"{figure} {value:.2%}" for figure, value in figures.items()))
    write_json(written, summary | {"seeds": [result._asdict() for result in results], "params": params.flat()})


@app.command(epilog="Example: lifline doctor")
def doctor(
    run: Annotated[
        str | None,
        typer.Argument(
            metavar="RUN",
            help="Of MLflow, by id, beginning of an id, name, or number of its version; else params.yaml.",
        ),
    ] = None,
) -> None:
    """Tell why a network does not learn, and what to change.

    Each finding has the figure that shows it, and the param to change. Without RUN the params are trained for about 200
    optimizer steps, or whole where the training has no more; nothing is kept. The data is looked at, too; for a RUN
    where it is the data that is here. The number of a version of the model stands for the run that trained it. Causes
    come before what they may cause. Exit code 0: nothing was found; 1: something was; 2: an error, as of any command.
    """
    import time

    from lifline.device import choose_device
    from lifline.download.obtain import load_obtained
    from lifline.experiments.doctor import examine_recipe, examine_run
    from lifline.params import read_params
    from lifline.paths import DATA

    os.chdir(working_copy())
    params, started = read_params(), time.perf_counter()
    if run is None:
        examined = examine_recipe(params, load_obtained(params), choose_device(params.train.device))
    else:
        examined = examine_run(run, params)
    for finding in examined.findings:
        print(f"{finding.name}: {finding.figure}\n  {finding.advice}")
    unseen = f"; the data was not looked at: {DATA} is missing or another"
    of_all = f" of {examined.planned:,}" if examined.iterations < examined.planned else ""
    seen = f"{examined.iterations}{of_all} optimizer steps" + (" and the data" if examined.saw_data else unseen)
    how_many = len(examined.findings) or "nothing"
    print(f"found {how_many} in {seen}, {time.perf_counter() - started:.0f} s")
    if examined.findings:
        raise typer.Exit(SOMETHING_FOUND)
