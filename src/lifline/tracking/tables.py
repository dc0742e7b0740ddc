"""Runs and versions as tables in a terminal."""

import math
from collections.abc import Sequence
from textwrap import fill

from rich.table import Column, Table
from rich.text import Text

from lifline.tracking.champion import ListedVersion
from lifline.tracking.comparison import ASIDE, ComparedRun, differing_metrics, differing_params

TITLE_WIDTH = 40
"""Characters of a run's name in a line of its title, at most."""


def table_of_runs(runs: Sequence[ComparedRun], only: Sequence[str]) -> Table:
    """The params, and then the metrics, in which runs differ; no rows where there are none.

    Of those alone that have one of the texts `only` in their names; without a text, of all but metrics of `ASIDE`. A
    run that did not finish says so in its title.
    """
    columns = (Column(Text(_title(run)), overflow="fold") for run in runs)
    table = Table(Column("", no_wrap=True), *columns, box=None, pad_edge=False)
    for group, differences in (("params", differing_params(runs)), ("metrics", differing_metrics(runs))):
        if shown := [each for each in differences if _is_shown(each.name, only)]:
            table.add_row(Text(f"\n{group}", style="bold"))
            for name, values in shown:
                table.add_row(f"  {name}", *map(Text, values))
    return table


def describe_left_out(runs: Sequence[ComparedRun], only: Sequence[str]) -> str:
    """A line on the metrics that differ and are not shown unless they are asked for; nothing where there are none."""
    count = 0 if only else sum(each.name.startswith(ASIDE) for each in differing_metrics(runs))
    those = f"{count} metric{'s' * (count > 1)} of {' and '.join(ASIDE)}"
    return f"left out: {those} that differ; --only health --only speed shows them" if count else ""


def _is_shown(name: str, only: Sequence[str]) -> bool:
    return any(text in name for text in only) if only else not name.startswith(ASIDE)


def _title(run: ComparedRun) -> str:
    return f"{fill(run.name, TITLE_WIDTH)}\n{run.run_id[:8]}" + f", {run.status}" * (run.status != "FINISHED")


def table_of_versions(versions: Sequence[ListedVersion]) -> Table:
    """The versions of the registered model."""
    right = (Column(name, justify="right") for name in ("test accuracy", "spikes", "steps"))
    table = Table(
        "version", "alias", "data", Column("run", overflow="fold"), *right, "proofs", box=None, pad_edge=False
    )
    for each in versions:
        figures = (_shown(each.accuracy, ".2%"), _shown(each.spikes_per_image, ",.0f"), _shown(each.num_steps, ".0f"))
        table.add_row(each.version, each.alias, Text(each.data_set), Text(each.run), *figures, each.proof)
    return table


def _shown(value: float, how: str) -> str:
    """Nothing for what is not known."""
    return "" if math.isnan(value) else format(value, how)
