"""A study's pictures, by Optuna."""

import json
import warnings
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import optuna.visualization.matplotlib as draw
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter, LogLocator, MaxNLocator, NullFormatter, PercentFormatter
from optuna.distributions import CategoricalDistribution
from optuna.study import Study
from optuna.trial import TrialState

from lifline.figures.style import as_png
from lifline.tuning.study import DEFINITION, counted

ACCURACY = "validation accuracy"
COST_NAMES = {
    "synaptic_operations": "synaptic operations an image",
    "num_steps": "steps",
    "energy": "energy with memory, nJ an image",
}
WIDE = (10, 4.5)
"""Inches."""

LONGEST = 8
"""Characters of a choice at an axis: a longer one is written below, and has a number there."""

VISIBLE = 0.3
"""Where among matplotlib's Blues, from 0 to 1, those begin that are seen on white."""


def draw_study(study: Study) -> dict[str, bytes]:
    """PNGs by file name; those that need more trials than there are, are left out."""
    done = study.get_trials(states=[TrialState.COMPLETE])
    if len(done) < 2:  # noqa: PLR2004 - importances compare
        return {}
    if len(study.directions) > 1:
        cost = json.loads(study.user_attrs[DEFINITION])["cost"]
        return {"pareto_front.png": _png(_front, study, target_names=[ACCURACY, COST_NAMES[cost]])}
    return {name: _png(plot, study, target_name=ACCURACY) for name, plot in PLOTS.items()}


def _history(study: Study, target_name: str) -> Axes:
    axes = draw.plot_optimization_history(study, target_name=target_name)
    trials = study.get_trials(deepcopy=False)
    ended = Counter(trial.state for trial in counted(trials) if trial.state.is_finished())
    failed = ended[TrialState.FAIL]
    tried_again = sum(trial.state == TrialState.FAIL for trial in trials) - failed
    fates = {"pruned": ended[TrialState.PRUNED], "failed": failed, "tried again": tried_again}
    left_out = ", ".join(f"{number} {fate}" for fate, number in fates.items() if number)
    axes.set_title(f"{ended.total()} trials" + (f"; {left_out} not shown" if left_out else ""))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return axes


def _parallel_coordinates(study: Study, target_name: str) -> Axes:
    axes = draw.plot_parallel_coordinate(study, target_name=target_name)
    for lines in axes.collections:
        lines.set_cmap(ListedColormap(colormaps["Blues"](np.linspace(VISIBLE, 1, 256))))
    return axes


def _slice(study: Study, target_name: str) -> Any:
    axes: Any = draw.plot_slice(study, target_name=target_name)
    bar = np.ravel(axes)[0].figure.axes[-1]
    bar.yaxis.set_major_locator(MaxNLocator(integer=True))  # numbers of trials
    return axes


PLOTS: dict[str, Callable[..., Any]] = {
    "history.png": _history,
    "importances.png": draw.plot_param_importances,
    "parallel_coordinates.png": _parallel_coordinates,
    "slice.png": _slice,
}


def _front(study: Study, target_names: list[str]) -> Axes:
    """Accuracy against cost, as far as the front goes: a trial that learned nothing would make a line of the rest."""
    axes = draw.plot_pareto_front(study, target_names=target_names)
    accuracies = [trial.values[0] for trial in study.best_trials]
    margin = max(0.25 * (max(accuracies) - min(accuracies)), 0.001)
    lowest = min(accuracies) - margin
    axes.set_xlim(lowest, max(accuracies) + margin)
    done = study.get_trials(states=[TrialState.COMPLETE])
    costs = [trial.values[1] for trial in done if trial.values[0] >= lowest]
    room = max(0.05 * (max(costs) - min(costs)), 0.01 * max(costs))
    axes.set_ylim(min(costs) - room, max(costs) + room)
    left_out = len(done) - len(costs)
    axes.set_title(f"{len(done)} trials" + (f"; {left_out} below {lowest:.1%} not shown" if left_out else ""))
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=1))
    return axes


def _png(plot: Callable[..., Any], study: Study, **options: Any) -> bytes:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "experimental"
        axes = plot(study, **options)
    figure = np.ravel(axes)[0].figure
    _tidy(figure)
    _number_long_choices(figure, study)
    return as_png(figure)


def _tidy(figure: Figure) -> None:
    figure.set_size_inches(*WIDE)
    for axes in figure.axes:
        axes.set_facecolor("white")
        axes.grid(color="0.9")
        if not axes.patch.get_visible():  # an axis of parallel coordinates: lines are below it
            axes.grid(visible=False)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_minor_formatter(NullFormatter())  # on a short logarithmic axis they overlap
            if axis.get_scale() == "log":
                _label_decades(axis)


def _number_long_choices(figure: Figure, study: Study) -> None:
    """Networks by name would be written over each other."""
    shown = _choices_at_axes(figure, study)
    long = sorted({name for names in shown.values() for name in names if len(name) > LONGEST})
    numbers = {name: f"({i})" for i, name in enumerate(long, 1)}
    for axis, names in shown.items():
        axis.set_ticks(axis.get_ticklocs(), [numbers.get(name, name) for name in names])
    if numbers:
        bottom = figure.get_tightbbox().y0 / figure.get_figheight()
        told = "\n".join(f"{number}  {name}" for name, number in numbers.items())
        figure.text(0.05, bottom - 0.02, told, va="top", parse_math=False)


def _choices_at_axes(figure: Figure, study: Study) -> dict[Axis, list[str]]:
    kinds = [kind for trial in study.get_trials(deepcopy=False) for kind in trial.distributions.values()]
    choices = {each for kind in kinds if isinstance(kind, CategoricalDistribution) for each in kind.choices}
    names = {written: str(each) for each in choices for written in (str(each), repr(each))}  # Optuna writes both ways
    figure.canvas.draw()  # until then some axes have no labels
    labels = {
        axis: [label.get_text() for label in axis.get_ticklabels()]
        for axes in figure.axes
        for axis in (axes.xaxis, axes.yaxis)
    }
    return {  # of several axes that share their labels all but one have none
        axis: [names[text] for text in texts] for axis, texts in labels.items() if texts and set(texts) <= names.keys()
    }


def _label_decades(axis: Axis) -> None:
    low, high = sorted(axis.get_view_interval())
    axis.set_major_locator(LogLocator(subs=(1, 3) if high > 10 * low else (1, 2, 5)))
    axis.set_major_formatter(FormatStrFormatter("%g"))
