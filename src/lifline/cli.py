"""The `lifline` command: what is not a stage of the pipeline."""

from pathlib import Path
from typing import Annotated

import typer

from lifline.errors import run_command

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="What is not a stage of the pipeline; `dvc repro` runs the stages. Run it in the folder with params.yaml.",
)


@app.callback()
def _commands() -> None:
    """Keeps a lone command a subcommand."""


@app.command()
def preset(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A file of presets/, without .yaml: tutorial, fast.")],
) -> None:
    """Write a recipe from presets/ into params.yaml, and show what changed.

    Comments, the seed, the device and all else that the recipe does not name stay. `git checkout params.yaml` goes
    back to the committed params.
    """
    from lifline.params_file import change_params, preset_values

    print(change_params(preset_values(name)) or "params.yaml holds this preset already")


@app.command()
def seeds(
    count: Annotated[int, typer.Argument(metavar="COUNT", min=1, max=1000, help="How many seeds, from train.seed on.")],
    output: Annotated[Path, typer.Option(help="Where to write the results, as JSON.")] = Path("reports/seeds.json"),
) -> None:
    """Train and evaluate the recipe in params.yaml with COUNT seeds; print the mean and the spread.

    The trainings are runs of MLflow's experiment lifline-seeds, under one parent. Interrupted, the same command goes
    on; with a greater COUNT it adds to what is there.
    """
    from lifline.files import write_json
    from lifline.params import read_params
    from lifline.seeds import summarize, train_seeds

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
    run_command(app)
