"""Commands on studies."""

import math
import os
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from lifline.cli.options import Storage
from lifline.command import resumable
from lifline.errors import LiflineError
from lifline.paths import working_copy

if TYPE_CHECKING:
    from lifline.tuning.workers import Workers

app = typer.Typer()


@app.command(epilog="Example: lifline tune --trials 50 --workers 2")
@resumable()
def tune(
    trials: Annotated[int, typer.Option(help="How many the study is to have, those of earlier calls included.")] = 30,
    timeout: Annotated[float | None, typer.Option(help="Seconds after which no trial is begun.")] = None,
    cost: Annotated[
        Literal["synaptic_operations", "num_steps", "energy"] | None,
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
    """Search for accurate params, on validation data.

    The space is tune.space of params.yaml. Trial 0 is the params as they are. Stopped, the same command goes on. Params
    that are suggested again count as a trial, and take the known score; a space that is used up ends the study. Trials
    are runs of MLflow's experiment lifline-tuning, under one parent; `lifline promote` writes the winner into
    params.yaml.
    """
    from lifline.params import read_params
    from lifline.tracking.runs import TUNING_EXPERIMENT
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
    print(f"more in MLflow: run {done.study_name} of the experiment {TUNING_EXPERIMENT}; `lifline ui` shows it")


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


@app.command(epilog="Example: lifline studies")
def studies(storage: Storage = None) -> None:
    """List the studies, with their trials and best values."""
    from lifline.tuning.display import describe_study
    from lifline.tuning.storage import open_store
    from lifline.tuning.winner import all_studies

    store = open_store(storage)
    found = all_studies(store)
    if not found:
        print(f"there is no study in {store.shown}; `lifline tune` makes one")
        return
    print(f"{len(found)} in {store.shown}")
    for study in found:
        print(describe_study(study))


@app.command(epilog="Example: lifline promote --trial 12")
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
    others = differences(found, params)
    for name, (then, now) in others.items():
        print(f"note: the study had {name} {then}; params.yaml has {now}")
    difference = change_params(as_params(best.params))
    is_best_of_all = trial is None and len(found.directions) == 1
    if is_best_of_all and best.number == 0 and not difference and not others:
        print(f"study {found.study_name} found nothing better than the params in params.yaml, which are its trial 0")
    else:
        print(difference or "params.yaml holds these params already")
        print(f"trial {best.number} of study {found.study_name}; `dvc repro` runs the pipeline with its params")
    if (epochs := epochs_of(found)) < params.train.epochs:
        print(f"note: its trials had {epochs} epochs; what is best for {params.train.epochs} may be something else")
