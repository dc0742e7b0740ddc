"""The ledger of records: an entry from the results of its seeds, its files, and the table in records/README.md."""

import json
import platform
from importlib.metadata import version
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, NamedTuple

from scipy.stats import ttest_1samp

from benchmarks.report import describe_machine
from lifline.errors import LiflineError
from lifline.system.files import write_bytes, write_json

RECORDS = Path(__file__).parent / "records"
README = "README.md"
GOAL = 0.99
LEVEL = 0.01
LIBRARIES = ("torch", "numba")
COLUMNS = ("date", "seconds: mean (min to max)", "test accuracy in %: mean ± deviation", "p", "recipe", "machine", "of")
TABLE_BEGINS = "| date |"


class SeedResult(NamedTuple):
    """What the training from one seed took and gave."""

    seed: int

    seconds: float
    """In training: neither validation nor test."""

    accuracy: float
    """On test images, 0 to 1; of a try, on validation images."""

    log: list[str]
    """A line for each epoch, and one for the whole."""


def p_value(accuracies: list[float]) -> float:
    """Return how often seeds of a recipe whose mean is the goal look as good as these: a one-sided t-test."""
    return float(ttest_1samp(accuracies, GOAL, alternative="greater").pvalue)


def new_entry(
    recipe: str, params: dict[str, Any], results: list[SeedResult], date: str, command: str, commit: str
) -> dict[str, Any]:
    """Return what the ledger tells of a recipe.

    Raises:
        LiflineError: its seeds do not show that it reaches the goal.
    """
    accuracies, seconds = [each.accuracy for each in results], [each.seconds for each in results]
    p = p_value(accuracies)
    if not p < LEVEL:
        raise LiflineError(
            f"{recipe} is no record: mean test accuracy {fmean(accuracies):.3%} of {len(results)} seeds, p {p:.2g}; "
            f"allowed is above {GOAL:.2%} with p below {LEVEL}"
        )
    return {
        "recipe": recipe,
        "date": date,
        "command": command,
        "commit": commit,
        "machine": describe_machine(),
        "software": {"python": platform.python_version()} | {name: version(name) for name in LIBRARIES},
        "seconds": _spread(seconds),
        "test_accuracy": _spread(accuracies),
        "p": p,
        "seeds": [{"seed": each.seed, "seconds": each.seconds, "test_accuracy": each.accuracy} for each in results],
        "params": params,
    }


def write_entry(folder: Path, entry: dict[str, Any], log: list[str]) -> Path:
    """Write an entry and its log beside the others, and the table of all into the folder's README."""
    path = folder / f"{entry['date']}-{entry['recipe']}.json"
    write_bytes(path.with_suffix(".log"), ("\n".join(log) + "\n").encode())
    write_json(path, entry)
    readme = folder / README
    text = readme.read_text(encoding="utf-8")
    write_bytes(readme, (text[: text.index(TABLE_BEGINS)] + table(folder)).encode())
    return path


def table(folder: Path) -> str:
    """Return the table of all entries in a folder, the oldest first, as Markdown."""
    rows = [_row(path) for path in sorted(folder.glob("*.json"))]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in [COLUMNS, ["---"] * len(COLUMNS), *rows])


def _row(path: Path) -> list[str]:
    entry = json.loads(path.read_text(encoding="utf-8"))
    seconds, accuracy, machine = entry["seconds"], entry["test_accuracy"], entry["machine"]
    return [
        entry["date"],
        f"**{seconds['mean']:.2f}** ({seconds['min']:.2f} to {seconds['max']:.2f})",
        f"{100 * accuracy['mean']:.3f} ± {100 * accuracy['standard_deviation']:.3f}",
        f"{entry['p']:.1g}",
        entry["recipe"],
        f"{machine['processor']}, {machine['threads']} threads",
        f"[entry]({path.name}), [log]({path.stem}.log), {entry['commit'][:10]}",
    ]


def _spread(values: list[float]) -> dict[str, float]:
    return {"mean": fmean(values), "standard_deviation": stdev(values), "min": min(values), "max": max(values)}
