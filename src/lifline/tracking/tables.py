"""Runs and versions as tables in a terminal."""

import math
from collections.abc import Sequence

from rich.table import Column, Table
from rich.text import Text

from lifline.tracking.champion import ListedVersion
from lifline.tracking.comparison import ComparedRun, differing_metrics, differing_params


def table_of_runs(runs: Sequence[ComparedRun]) -> Table:
    """The params and metrics in which runs differ; no rows where there are none."""
    columns = (Column(Text(f"{run.name}\n{run.run_id[:8]}"), overflow="fold") for run in runs)
    table = Table(Column("", no_wrap=True), *columns, box=None, pad_edge=False)
    for name, values in differing_params(runs) + differing_metrics(runs):
        table.add_row(name, *map(Text, values))
    return table


def table_of_versions(versions: Sequence[ListedVersion]) -> Table:
    """The versions of the registered model."""
    right = (Column(name, justify="right") for name in ("test accuracy", "spikes", "steps"))
    table = Table("version", "alias", Column("run", overflow="fold"), *right, "proofs", box=None, pad_edge=False)
    for each in versions:
        figures = (_shown(each.accuracy, ".2%"), _shown(each.spikes_per_image, ",.0f"), _shown(each.num_steps, ".0f"))
        table.add_row(each.version, each.alias, Text(each.run), *figures, each.proof)
    return table


def _shown(value: float, how: str) -> str:
    """Nothing for what is not known."""
    return "" if math.isnan(value) else format(value, how)
