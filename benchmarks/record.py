"""`python -m benchmarks record RECIPE`: seconds to 99 % on 2 cores, by the rules in records/README.md."""

import argparse
import json
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean

import torch

from benchmarks.ledger import GOAL, RECORDS, SeedResult, new_entry, write_entry
from lifline.data.datasets import Dataset
from lifline.data.images import LabelledImages, split_training_images
from lifline.download.obtain import load_obtained
from lifline.errors import LiflineError
from lifline.experiments.fingerprint import fingerprint
from lifline.params import Params, read_params
from lifline.paths import repository_root
from lifline.presets import preset_names, preset_values, recipe_values
from lifline.system.files import write_json
from lifline.system.locks import LockHeldError, locked
from lifline.training.fit import fit, new_training
from lifline.training.objective import make_loss
from lifline.training.validation import validate

NUM_SEEDS = 20
NUM_THREADS = 2
CPU = torch.device("cpu")
WRITTEN = (*(f"benchmarks/records/{files}" for files in ("*.json", "*.log", "README.md")), "dvc.lock", "reports")
"""What may differ from the commit: what commands write."""


def main(arguments: list[str]) -> None:
    """Measure a recipe, and enter it into the ledger; or try it on few seeds.

    Raises:
        LiflineError: there is no such recipe, a rule is not kept, or it does not reach the goal.
    """
    parsed = _parse(arguments)
    params = recipe_params(parsed.recipe)
    dataset = load_obtained(params)
    _warm_up(params, dataset)
    if parsed.seeds is None:
        enter(parsed.recipe, params, dataset, RECORDS)
    else:
        results = [measure(seeded, dataset, is_try=True) for seeded in _seeded(params, parsed.seeds)]
        print(f"a try on {_summary(results)} on validation images; no entry")


def recipe_params(name: str) -> Params:
    """Return the params of a recipe of `benchmarks/records/`, or else of a preset.

    Raises:
        ParamsError: there is no such recipe, or its values are not allowed.
        LiflineError: likewise.
    """
    path = RECORDS / f"{name}.yaml"
    names = [*sorted(each.stem for each in RECORDS.glob("*.yaml")), *preset_names()]
    if name not in names:
        raise LiflineError(f"recipe is {name!r}; allowed is one of {', '.join(names)}")
    values = recipe_values(path) if path.is_file() else preset_values(name)
    return read_params().with_values(values | {"train.device": "cpu"})


def enter(recipe: str, params: Params, dataset: Dataset, folder: Path) -> None:
    """Measure a recipe on all seeds, those left out that were measured before an interruption, and write its entry.

    Raises:
        LiflineError: a rule is not kept, another process measures the same, or the recipe does not reach the goal.
    """
    commit = _clean_commit(recipe)
    if torch.get_num_threads() != NUM_THREADS:
        raise LiflineError(f"threads are {torch.get_num_threads()}; allowed is 2: set OMP_NUM_THREADS=2")
    measured = fingerprint(params.with_values({"train.seed": 0}), dataset.sha256, CPU)
    state = repository_root() / ".checkpoints/records" / f"{recipe}-{commit[:12]}-{measured[:12]}.json"
    try:
        with locked(state.with_suffix(".lock"), wait=False):
            results = list(_all_results(params, dataset, state))
    except LockHeldError as error:
        raise LiflineError(f"{error.filename} is held: another process measures {recipe}; let it end") from None
    command, date = f"python -m benchmarks record {recipe}", datetime.now(UTC).date().isoformat()
    entry = new_entry(recipe, params.flat(), results, date, command, commit)
    path = write_entry(folder, entry, [line for result in results for line in result.log])
    state.unlink()
    print(f"{_summary(results)} on test images, p {entry['p']:.1g}: written to {path}")


def measure(params: Params, dataset: Dataset, is_try: bool) -> SeedResult:
    """Train with one seed; a try does not look at the test images."""
    seed, log = params.train.seed, []
    split = split_training_images(dataset.train, params.data)
    state = new_training(params, dataset.info, CPU)
    for report in fit(state, split.training, split.validation, params):
        log += [
            f"seed {seed} epoch {report.epoch}: {report.seconds:.3f} s, loss {fmean(report.losses):.4g}, accuracy "
            f"{report.train_accuracy:.2%} as shown, {report.validation_accuracy:.2%} on validation images"
        ]
        print(log[-1], flush=True)
    accuracy = state.reports[-1].validation_accuracy
    if not is_try:
        accuracy = validate(state.network, dataset.test, make_loss(params.train), params.network.decoding).accuracy
    seconds = sum(report.seconds for report in state.reports)
    images = "validation" if is_try else "test"
    log += [f"seed {seed}: {seconds:.3f} s, accuracy {accuracy:.2%} on {images} images"]
    print(log[-1], flush=True)
    return SeedResult(seed, seconds, accuracy, log)


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks record", description=__doc__)
    parser.add_argument("recipe", metavar="RECIPE", help="a file of benchmarks/records/, without .yaml, or a preset")
    parser.add_argument("--try", dest="seeds", type=int, metavar="SEEDS", help="train few seeds, and write nothing")
    parsed = parser.parse_args(arguments)
    if parsed.seeds is not None and parsed.seeds < 1:
        parser.error(f"--try is {parsed.seeds}; allowed is a whole number from 1")
    return parsed


def _seeded(params: Params, count: int) -> list[Params]:
    return [params.with_values({"train.seed": seed}) for seed in range(1, count + 1)]


def _all_results(params: Params, dataset: Dataset, state: Path) -> Iterator[SeedResult]:
    """Yield the result of each seed, and keep it in a file: an interrupted command goes on there."""
    results = []
    if state.is_file():
        results = [SeedResult(**each) for each in json.loads(state.read_text(encoding="utf-8"))["results"]]
        print(f"{len(results)} seeds are measured already")
        yield from results
    for seeded in _seeded(params, NUM_SEEDS)[len(results) :]:
        results.append(measure(seeded, dataset, is_try=False))
        write_json(state, {"results": [each._asdict() for each in results]})
        yield results[-1]


def _warm_up(params: Params, dataset: Dataset) -> None:
    """Train on two batches of another network, so that the kernels are compiled and loaded."""
    few = LabelledImages(*(part[: 2 * params.train.batch_size] for part in dataset.train))
    short = params.with_values({"train.epochs": 1})
    for _ in fit(new_training(short, dataset.info, CPU), few, few, short):
        pass


def _summary(results: list[SeedResult]) -> str:
    seconds, accuracy = fmean(each.seconds for each in results), fmean(each.accuracy for each in results)
    return f"{len(results)} seeds: {seconds:.2f} s, {accuracy:.3%}, where the goal is {GOAL:.2%},"


def _clean_commit(recipe: str) -> str:
    """Return the commit that is measured.

    Raises:
        LiflineError: there is none, files differ from it, or it has no such recipe.
    """
    if unknown := _git("ls-files", "--others", "--", f"benchmarks/records/{recipe}.yaml", f"presets/{recipe}.yaml"):
        raise LiflineError(f"{unknown} is not in the commit; an entry is of a commit: commit it first")
    elsewhere = [f":(exclude){written}" for written in WRITTEN]
    if changed := _git("status", "--porcelain", "--untracked-files=no", "--", ".", *elsewhere):
        raise LiflineError(f"{changed.split()[1]} differs from the commit; an entry is of a commit: commit it first")
    return _git("rev-parse", "HEAD")


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=True)  # noqa: S607
    except (OSError, subprocess.CalledProcessError):
        raise LiflineError("git does not tell the commit; an entry is of a commit") from None
    return done.stdout.strip()
