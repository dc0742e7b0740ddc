"""`python -m benchmarks [--quick] [SECTION ...]`: measure, print, and write to benchmarks/results/.

`python -m benchmarks record RECIPE` makes an entry in benchmarks/records/.
"""

import argparse
import sys
import tempfile
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from rich.console import Console

from benchmarks import record
from benchmarks.report import print_table, write_results
from benchmarks.sections import (
    Settings,
    busy,
    epoch,
    growth,
    inference,
    integer,
    memory,
    networks,
    recipe,
    startup,
    step,
    workers,
)
from benchmarks.task import Task
from lifline.command import run_command
from lifline.data.batches import as_input
from lifline.data.datasets import load_dataset
from lifline.data.images import LabelledImages
from lifline.errors import LiflineError
from lifline.paths import DATA

SECTIONS = {
    "step": step.measure,
    **{name: partial(networks.measure, name) for name in networks.RACES},
    "busy": busy.measure,
    "epoch": epoch.measure,
    "inference": inference.measure,
    "memory": memory.measure,
    "tutorial6_memory": memory.measure_tutorial6,
    "recipe": recipe.measure,
    "growth": growth.measure,
    "startup": startup.measure,
    "workers": workers.measure,
    "integer": integer.measure,
}
RESULTS = Path(__file__).parent / "results"
PACKAGES = ("snntorch", "spikingjelly", "norse", "jax")
NUM_IMAGES = 8192
WIDTH_OF_FILES = 120


def main() -> None:
    """Run the sections that were asked for, or measure a record."""
    if sys.argv[1:2] == ["record"]:
        record.main(sys.argv[2:])
        return
    arguments = _parse_arguments()
    missing = [package for package in PACKAGES if find_spec(package) is None]
    if missing:
        raise LiflineError(f"{', '.join(missing)} cannot be imported; `make bench` installs what is raced")
    data = load_dataset(DATA).train
    console = Console(width=None if sys.stdout.isatty() else WIDTH_OF_FILES)
    tables = {}
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(
            mnist=DATA,
            images=_save_first(data, NUM_IMAGES, Path(folder)),
            few_images=_save_first(data, Task().batch_size, Path(folder)),
            is_quick=arguments.quick,
        )
        for name in arguments.sections:
            with console.status(f"measuring: {name}"):
                tables[name] = SECTIONS[name](settings)
            print_table(console, tables[name])
    console.print(f"written to {write_results(arguments.results, tables, arguments.quick)}", soft_wrap=True)


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=f"{', '.join(SECTIONS)}; by default all")
    parser.add_argument(
        "--quick", action="store_true", help="see that all works, in a minute or two: few rounds, no epoch"
    )
    parser.add_argument("--results", type=Path, help="folder to write to; a quick run's default is results/quick")
    arguments = parser.parse_args()
    unknown = set(arguments.sections) - set(SECTIONS)
    if unknown:
        parser.error(f"unknown section {', '.join(sorted(unknown))}; allowed are {', '.join(SECTIONS)}")
    if not arguments.sections:
        arguments.sections = [name for name in SECTIONS if not (arguments.quick and name == "epoch")]
    if arguments.results is None:
        arguments.results = RESULTS / "quick" if arguments.quick else RESULTS
    return arguments


def _save_first(data: LabelledImages, count: int, folder: Path) -> Path:
    path = folder / f"{count}.npz"
    np.savez(path, images=as_input(data.images[:count]).flatten(1).numpy(), labels=data.labels[:count].numpy())
    return path


if __name__ == "__main__":
    run_command(main)
