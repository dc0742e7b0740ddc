"""The `lifline` command: what is not a stage of the pipeline."""

from pathlib import Path
from typing import Annotated

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
