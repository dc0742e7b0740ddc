"""A study with as many workers as cores, on Ray, against one worker that uses all cores."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from benchmarks.report import Table, spread
from benchmarks.sections import Settings
from lifline.paths import DATA, repository_root

CORES = len(os.sched_getaffinity(0))
OTHERS = ("DVC_", "LIFLINE_STORAGE", "MLFLOW_TRACKING")
"""Settings that would lead to another store."""

LIFLINE = "from lifline.cli import main; main()"


def measure(settings: Settings) -> Table:
    """Run the same trials both ways, by turns."""
    rounds, trials = (1, 2) if settings.is_quick else (2, 8)
    racers = {1: "1 worker, all cores", CORES: f"{CORES} workers on Ray, 1 core each"}
    seconds: dict[int, list[float]] = {workers: [] for workers in racers}
    for _ in range(rounds):
        for workers in racers:
            seconds[workers].append(_study(settings.mnist, workers, trials))
    rows = [
        {"workers": label}
        | spread(seconds[workers], "s")
        | {"times one worker": median(seconds[1]) / median(seconds[workers])}
        for workers, label in racers.items()
    ]
    notes = [
        "`lifline tune --cost num_steps`, which prunes none; the first ten trials are drawn at random, so all run the "
        "same. The whole command counts, with imports and Ray's start.",
    ]
    return Table(f"A study of {trials} trials on {CORES} cores", rows, notes)


def _study(mnist: Path, workers: int, trials: int) -> float:
    """Run a study in a repository of its own; returns the seconds it took."""
    with tempfile.TemporaryDirectory() as folder:
        for name in ("params.yaml", "dvc.yaml"):
            shutil.copy(repository_root() / name, folder)
        Path(folder, "data").mkdir()
        Path(folder, DATA).symlink_to(mnist.absolute())
        arguments = ["tune", "--cost", "num_steps", "--trials", str(trials), "--workers", str(workers)]
        started = time.perf_counter()
        subprocess.run(
            [sys.executable, "-c", LIFLINE, *arguments],
            cwd=folder,
            env={name: value for name, value in os.environ.items() if not name.startswith(OTHERS)},
            check=True,
            stdout=subprocess.DEVNULL,
        )
        return time.perf_counter() - started
