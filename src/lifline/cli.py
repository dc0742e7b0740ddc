"""The `lifline` command: what is not a stage of the pipeline."""

import math
import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from lifline.command import INTERRUPTED, USER_ERROR, run_command
from lifline.errors import LiflineError, PictureError
from lifline.paths import working_copy

if TYPE_CHECKING:
    from lifline.serving.predictor import Predictor
    from lifline.tuning.workers import Workers

MAX_SEEDS = 1000
WIDE = 1000
"""Columns, where no terminal limits them."""

Model = Annotated[
    str | None,
    typer.Option(
        metavar="FILE|URI",
        help="An ONNX file, or one of the registry, as models:/lifline@champion; by default the repository's "
        "models/model.onnx.",
    ),
]
Storage = Annotated[
    str | None,
    typer.Option(
        envvar="LIFLINE_STORAGE",
        show_envvar=True,
        help="A team's PostgreSQL, postgresql://USER@HOST/DATABASE; by default optuna.journal.",
    ),
]

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    help="What is not a stage of the pipeline; `dvc repro` runs the stages. Run it anywhere in the repository.",
)


@app.command()
def preset(name: Annotated[str, typer.Argument(metavar="NAME", help="A file of presets/, without .yaml.")]) -> None:
    """Write a recipe into params.yaml: conv, default, fashion, fashion-fast, fast, tutorial, tutorial6.

    What changed is shown. A recipe is for one data set, which it names, too. Comments, the seed, the device and all
    else that it does not name stay.
    `git checkout params.yaml` goes back to the committed params.
    """
    from lifline.presets import write_preset

    os.chdir(working_copy())
    print(write_preset(name) or "params.yaml holds this preset already")


@app.command()
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
    params = read_params()
    results = []
    for result in train_seeds(params, count):
        print(f"seed {result.seed}: validation {result.validation_accuracy:.2%}, test {result.test_accuracy:.2%}")
        results.append(result)
    summary = summarize(results)
    for name, figures in summary.items():
        print(f"{name:<20}" + "  ".join(f"{figure} {value:.2%}" for figure, value in figures.items()))
    write_json(written, summary | {"seeds": [result._asdict() for result in results], "params": params.flat()})


@app.command()
def tune(
    trials: Annotated[int, typer.Option(help="How many the study is to have, those of earlier calls included.")] = 30,
    timeout: Annotated[float | None, typer.Option(help="Seconds after which no trial is begun.")] = None,
    cost: Annotated[
        Literal["synaptic_operations", "num_steps"] | None,
        typer.Option(help="Search the front of accuracy against this cost."),
    ] = None,
    study: Annotated[str | None, typer.Option(help="A name, in place of a hash of what the study is.")] = None,
    storage: Storage = None,
    workers: Annotated[int, typer.Option(help="Trials at once: 1 in this process, more on Ray.")] = 1,
    ray: Annotated[str | None, typer.Option(help="A Ray cluster, run on a node of it: auto or HOST:PORT.")] = None,
    cpus_per_trial: Annotated[
        float | None, typer.Option(help="On Ray; by default a share of this machine's, 1 on a cluster.")
    ] = None,
    gpus_per_trial: Annotated[
        float | None, typer.Option(help="On Ray, may be a share of one; by default a share of those there are.")
    ] = None,
) -> None:
    """Search tune.space of params.yaml for accurate params, on validation data.

    Trial 0 is the params as they are. Stopped, the same command goes on. Trials are runs of MLflow's experiment
    lifline-tuning, under one parent; `lifline promote` writes the winner into params.yaml.
    """
    from lifline.params import read_params
    from lifline.tuning.display import describe_study, show_study
    from lifline.tuning.driver import tune as run_study

    _check_at_least("--trials", trials, 1)
    _check_at_least("--timeout", timeout, 0)
    os.chdir(working_copy())
    trainers = _workers(workers, ray, cpus_per_trial, gpus_per_trial)
    params = read_params()
    with show_study(trials) as display:
        done = run_study(
            params, trials, display, timeout=timeout, cost=cost, name=study, storage=storage, workers=trainers
        )
    print(describe_study(done))


def _workers(num_workers: int, ray: str | None, cpus: float | None, gpus: float | None) -> "Workers":
    from lifline.tuning.workers import InProcess

    _check_at_least("--workers", num_workers, 1)
    _check_at_least("--cpus-per-trial", cpus, 0)
    _check_at_least("--gpus-per-trial", gpus, 0)
    if num_workers == 1 and ray is None:
        if cpus is not None or gpus is not None:
            raise LiflineError("--cpus-per-trial and --gpus-per-trial are for --workers from 2, or with --ray")
        return InProcess()
    if find_spec("ray") is None:
        raise LiflineError("--workers from 2, and --ray, need Ray: pip install ray")
    from lifline.tuning.ray_workers import RayWorkers

    return RayWorkers(num_workers, ray, cpus, gpus)


def _check_at_least(name: str, value: float | None, least: int) -> None:
    if value is not None and not least <= value < math.inf:
        raise LiflineError(f"{name} is {value}; allowed is a number from {least}")


@app.command()
def studies(storage: Storage = None) -> None:
    """List the studies: where they are, trials by state, best values."""
    from lifline.tuning.display import describe_study
    from lifline.tuning.storage import open_store
    from lifline.tuning.winner import all_studies

    store = open_store(storage)
    found = all_studies(store)
    print(f"{len(found)} in {store.shown}")
    for study in found:
        print(describe_study(study))


@app.command()
def promote(
    study: Annotated[str | None, typer.Option(help="By default the last one that ran.")] = None,
    trial: Annotated[int | None, typer.Option(help="By default the best.")] = None,
    min_accuracy: Annotated[
        float | None, typer.Option(help="With a cost: the cheapest trial from this, 0 to 1.")
    ] = None,
    max_cost: Annotated[float | None, typer.Option(help="With a cost: the most accurate trial up to this.")] = None,
    storage: Storage = None,
) -> None:
    """Write a study's winner into params.yaml, and show what changed.

    A trial that another program told the study, without training by lifline, is taken only where --trial names it.
    """
    from lifline.params import read_params
    from lifline.presets import change_params
    from lifline.tuning.display import describe_untrained
    from lifline.tuning.space import as_params
    from lifline.tuning.storage import open_store
    from lifline.tuning.winner import differences, epochs_of, find_study, winner

    os.chdir(working_copy())
    found, params = find_study(open_store(storage), study), read_params()
    best = winner(found, trial, min_accuracy, max_cost)
    if untrained := describe_untrained(found):
        print(f"note: {untrained}; --trial alone takes one of these")
    for name, (then, now) in differences(found, params).items():
        print(f"note: the study had {name} {then}; params.yaml has {now}")
    difference = change_params(as_params(best.params))
    print(difference or "params.yaml holds these params already")
    print(f"trial {best.number} of study {found.study_name}; `dvc repro` runs the pipeline with its params")
    if (epochs := epochs_of(found)) < params.train.epochs:
        print(f"note: its trials had {epochs} epochs; what is best for {params.train.epochs} may be something else")


@app.command()
def compare(
    runs: Annotated[list[str], typer.Argument(metavar="RUN RUN...", help="Ids, their beginnings, or names.")],
) -> None:
    """Show in which params and metrics runs of MLflow differ, and of two, whether the second is better.

    That is told of the same test images by McNemar's exact test, as `lifline champion` does.
    Runs are those of the pipeline, of seeds and of studies; the MLflow UI lists them (`make ui`).
    """
    from rich.console import Console

    from lifline.params import read_params
    from lifline.tracking.comparison import evidence_on, find_runs
    from lifline.tracking.tables import table_of_runs

    if len(runs) < 2:  # noqa: PLR2004
        raise LiflineError(f"RUN is {runs[0]} alone; allowed are two runs or more")
    found = find_runs(runs)
    table = table_of_runs(found)
    if not table.rows:
        print("the runs have the same params and metrics")
    else:
        Console(width=None if sys.stdout.isatty() else WIDE).print(table)
    if len(found) == 2 and (evidence := evidence_on(*found)):  # noqa: PLR2004
        level = read_params(working_copy() / "params.yaml").champion.level
        print(f"test images, the second against the first: {evidence.describe(level)}")


@app.command()
def champion(
    version: Annotated[int | None, typer.Option(help="Of the registered model lifline; by default the newest.")] = None,
    force: Annotated[
        bool, typer.Option(help="Make it the champion whatever speaks against it; that is recorded.")
    ] = False,
) -> None:
    """Make an exported model the champion: models:/lifline@champion.

    `dvc repro` registers each network that it exports. One takes the place of the champion on evidence alone: if it is
    better on the same test images by McNemar's exact test, or not much worse and cheaper, as champion.* in params.yaml
    say; and if it passed export's proofs. `lifline versions` lists them.
    """
    from lifline.params import read_params
    from lifline.tracking.champion import make_champion

    params = read_params(working_copy() / "params.yaml").champion
    print(make_champion(None if version is None else str(version), force, params))


@app.command()
def versions() -> None:
    """List the versions of the registered model lifline, the newest first."""
    from rich.console import Console

    from lifline.tracking.champion import CAVEAT, list_versions
    from lifline.tracking.store import HOW_TO_REGISTER
    from lifline.tracking.tables import table_of_versions

    listed = list_versions()
    if not listed:
        print(f"there is no version; {HOW_TO_REGISTER}")
        return
    Console(width=None if sys.stdout.isatty() else WIDE).print(table_of_versions(listed))
    print(CAVEAT)


@app.command()
def ui(port: Annotated[int, typer.Option(help="On 127.0.0.1.", min=1, max=65535)] = 5000) -> None:
    """Serve the MLflow UI on this repository's store, to this machine alone, and print the link to the runs.

    Ctrl-C stops the server. Where MLFLOW_TRACKING_URI names a tracking server, that has the UI: its link is printed.
    """
    from lifline.tracking.ui import serve_ui

    serve_ui(port)


@app.command()
def predict(
    images: Annotated[
        list[Path],
        typer.Argument(
            metavar="IMAGE",
            help="PNG, JPEG, WebP, GIF, BMP, TIFF of any size; with --output a folder of them, or an .npz file.",
        ),
    ],
    show: Annotated[bool, typer.Option("--show", help="Draw the spikes, in IMAGE.spikes.png.")] = False,
    output: Annotated[
        Path | None, typer.Option(metavar="FILE.csv", help="Write a table, a row for each image of a folder or .npz.")
    ] = None,
    model: Model = None,
) -> None:
    """Tell what a picture shows: class, confidence and spikes.

    The picture is prepared as the images are on which the network was trained: handwriting, in any two colours, is cut
    out. Confidence is the share of the output spikes that the class has. Needs ONNX Runtime, not PyTorch.

    `lifline predict scans --output predictions.csv` predicts all pictures in scans and the folders in it; one that
    cannot be read has a row that tells why. Of an .npz it takes x_test, or the only array, of images as the network
    sees them: [B, H, W] or [B, H, W, C], whole numbers of 0 to 255 or floats of 0 to 1.
    """
    from lifline.serving.predictor import Predictor

    if output is not None:
        if show or len(images) != 1:
            raise LiflineError("--output takes one folder or .npz file, without --show")
        from lifline.serving.batch import predict_all

        print(predict_all(Predictor(model), images[0], output))
        return
    if not _predict_each(Predictor(model), images, show):
        sys.exit(USER_ERROR)


def _predict_each(predictor: "Predictor", images: list[Path], show: bool) -> bool:
    """Print a line a picture; whether all could be read."""
    from lifline.serving.picture import read_picture

    all_read = True
    for path in images:
        try:
            if path.is_dir() or path.suffix.lower() == ".npz":
                raise PictureError(f"{path} holds many images; --output FILE.csv predicts all of them")
            image = read_picture(path, predictor.dataset)
        except PictureError as error:
            all_read = False
            print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
            continue
        prediction = predictor.predict(image)
        print(f"{path}: {prediction.describe()}")
        if show:
            from lifline.figures.prediction import draw_prediction
            from lifline.system.files import write_bytes

            drawn = Path(f"{path}.spikes.png")
            write_bytes(drawn, draw_prediction(image, prediction))
            print(drawn)
    return all_read


@app.command("import")
def import_model(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="NIR (.nir), or a state dict (.safetensors, .pt).")],
    output: Annotated[Path, typer.Option(help="Where to write the model.")] = Path("models/imported.safetensors"),
    layers: Annotated[
        str | None,
        typer.Option(
            help="Of a state dict, which does not tell its pooling, such as 12C5-MP2-64C5-MP2; by default "
            "network.layers of params.yaml."
        ),
    ] = None,
    reset: Annotated[
        Literal["subtract"] | None,
        typer.Option(help="How the neurons of a NIR file that does not say so are reset."),
    ] = None,
) -> None:
    """Make a model file of a NIR file, or of a snnTorch state dict, and compare both on the test images.

    lifline import network.nir --output models/imported.safetensors

    What the file does not say, such as steps and decoding, is taken from params.yaml, and the kind of images from the
    repository's data set. NIR files that lifline wrote say all of it. No code in the file is run.
    """
    from lifline.imports.command import import_file

    read, written = file.absolute(), output.absolute()
    os.chdir(working_copy())
    print(import_file(read, written, layers, reset == "subtract"))


@app.command()
def serve(
    port: Annotated[int, typer.Option(help="On 127.0.0.1; 0 takes a free one.")] = 8000,
    model: Model = None,
) -> None:
    """Serve a page to draw on, or to give pictures to, and predictions over HTTP, to this machine alone.

    POST /predict takes a picture and answers in JSON: class, confidence, output spikes; /predict?details=true with
    every spike. Ctrl-C stops the server.
    """
    from lifline.serving.predictor import Predictor
    from lifline.serving.server import serve as answer

    answer(Predictor(model), port)


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
