"""The `lifline` command: what is not a stage of the pipeline."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from lifline.errors import INTERRUPTED, LiflineError, run_command

MAX_SEEDS = 1000


app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    help="What is not a stage of the pipeline; `dvc repro` runs the stages. Run it in the folder with params.yaml.",
)


@app.command()
def preset(name: Annotated[str, typer.Argument(metavar="NAME", help="A file of presets/, without .yaml.")]) -> None:
    """Write a recipe into params.yaml, and show what changed: tutorial, fast.

    Comments, the seed, the device and all else that the recipe does not name stay. `git checkout params.yaml` goes
    back to the committed params.
    """
    from lifline.params_file import change_params, preset_values

    print(change_params(preset_values(name)) or "params.yaml holds this preset already")


@app.command()
def seeds(
    count: Annotated[int, typer.Argument(metavar="COUNT", help="How many, from train.seed on.")],
    output: Annotated[Path, typer.Option(help="Where to write the results, as JSON.")] = Path("reports/seeds.json"),
) -> None:
    """Train and evaluate the params with many seeds: mean and spread.

    The trainings are runs of MLflow's experiment lifline-seeds, under one parent. Interrupted, the same command goes
    on; with a greater COUNT it adds to what is there.
    """
    from lifline.files import write_json
    from lifline.params import read_params
    from lifline.seeds import summarize, train_seeds

    if not 1 <= count <= MAX_SEEDS:
        raise LiflineError(f"COUNT is {count}; allowed is a whole number from 1 to {MAX_SEEDS}")
    params = read_params()
    results = []
    for result in train_seeds(params, count):
        print(f"seed {result.seed}: validation {result.validation_accuracy:.2%}, test {result.test_accuracy:.2%}")
        results.append(result)
    summary = summarize(results)
    for name, figures in summary.items():
        print(f"{name:<20}" + "  ".join(f"{figure} {value:.2%}" for figure, value in figures.items()))
    write_json(output, summary | {"seeds": [result._asdict() for result in results], "params": params.flat()})


@app.command()
def tune(
    trials: Annotated[int, typer.Option(help="How many the study is to have, those of earlier calls included.")] = 30,
    timeout: Annotated[float | None, typer.Option(help="Seconds after which no trial is begun.")] = None,
    cost: Annotated[
        Literal["synaptic_operations", "num_steps"] | None,
        typer.Option(help="Search the front of accuracy against this cost."),
    ] = None,
    study: Annotated[str | None, typer.Option(help="A name, in place of a hash of what the study is.")] = None,
) -> None:
    """Search tune.space of params.yaml for accurate params, on validation data.

    Trial 0 is the params as they are. Stopped, the same command goes on. Trials are runs of MLflow's experiment
    lifline-tuning, under one parent; `lifline promote` writes the winner into params.yaml.
    """
    from lifline.params import read_params
    from lifline.tuning.display import describe_study, show_study
    from lifline.tuning.driver import tune as run_study

    if trials < 1:
        raise LiflineError(f"--trials is {trials}; allowed is a whole number from 1")
    if timeout is not None and timeout < 0:
        raise LiflineError(f"--timeout is {timeout}; allowed is a number of seconds from 0")
    params = read_params()
    worked_on = None
    with show_study(trials) as display:
        for worked_on, ended in run_study(params, trials, timeout, cost, study, display.show_epoch):
            display.show_trial(worked_on, ended)
    print(describe_study(worked_on) if worked_on else "no trial was begun: the study has them all, or no time is left")


@app.command()
def studies() -> None:
    """List the studies of optuna.journal: trials by state, best values."""
    from lifline.tuning.display import describe_study
    from lifline.tuning.winner import all_studies

    for study in all_studies():
        print(describe_study(study))


@app.command()
def promote(
    study: Annotated[str | None, typer.Option(help="By default the last one that ran.")] = None,
    trial: Annotated[int | None, typer.Option(help="By default the best.")] = None,
    min_accuracy: Annotated[
        float | None, typer.Option(help="With a cost: the cheapest trial from this, 0 to 1.")
    ] = None,
    max_cost: Annotated[float | None, typer.Option(help="With a cost: the most accurate trial up to this.")] = None,
) -> None:
    """Write a study's winner into params.yaml, and show what changed."""
    from lifline.params import read_params
    from lifline.params_file import change_params
    from lifline.tuning.winner import differences, find_study, values_of, winner

    found, params = find_study(study), read_params()
    best = winner(found, trial, min_accuracy, max_cost)
    for name, (then, now) in differences(found, params).items():
        print(f"note: the study had {name} {then}; params.yaml has {now}")
    difference = change_params(values_of(best, params))
    print(difference or "params.yaml holds these params already")
    print(f"trial {best.number} of study {found.study_name}; `dvc repro` runs the pipeline with its params")


def main() -> None:
    """Run the command that is asked for; errors are one line, exit code 2."""
    run_command(_run)


def _run() -> None:
    try:
        exit_code = app(standalone_mode=False)
    except typer.TyperException as error:
        raise LiflineError(f"{error.format_message().rstrip('.')}; `lifline --help` tells what there is") from None
    if exit_code == INTERRUPTED:
        raise KeyboardInterrupt
