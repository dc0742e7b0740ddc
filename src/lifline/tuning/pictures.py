"""A study's pictures, by Optuna."""

import os
import warnings
from collections.abc import Callable
from io import BytesIO
from typing import Any

os.environ.setdefault("MPLBACKEND", "agg")  # before matplotlib is imported: no window

import optuna.visualization.matplotlib as draw
from optuna.study import Study
from optuna.trial import TrialState


def draw_study(study: Study) -> dict[str, bytes]:
    """PNGs by file name; those that need more trials than there are, are left out."""
    done = study.get_trials(states=[TrialState.COMPLETE])
    if len(done) < 2:  # noqa: PLR2004 - importances compare
        return {}
    if len(study.directions) > 1:
        return {"pareto_front.png": _png(draw.plot_pareto_front, study, target_names=["validation accuracy", "cost"])}
    plots: dict[str, Callable[..., Any]] = {
        "history.png": draw.plot_optimization_history,
        "importances.png": draw.plot_param_importances,
        "parallel_coordinates.png": draw.plot_parallel_coordinate,
        "slice.png": draw.plot_slice,
    }
    return {name: _png(plot, study) for name, plot in plots.items()}


def _png(plot: Callable[..., Any], study: Study, **options: Any) -> bytes:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "experimental"
        axes = plot(study, **options)
    first = axes.flat[0] if hasattr(axes, "flat") else axes
    picture = BytesIO()
    first.figure.savefig(picture, dpi=120, bbox_inches="tight")
    return picture.getvalue()
