"""How a study shows itself: a bar on a terminal, a line for each trial elsewhere."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from lifline.epoch_report import EpochReport
from lifline.progress import new_bar
from lifline.tuning.study import counted


class StudyDisplay:
    """Shows how far a study is, what is running and the best so far."""

    def __init__(self, num_trials: int, progress: Progress) -> None:
        self.progress = progress
        self.task = progress.add_task("trials", total=num_trials)
        self.best = ""

    def show_epoch(self, number: int, report: EpochReport) -> None:
        """Show what is running."""
        running = f"trial {number}, epoch {report.epoch}: {report.validation_accuracy:.2%}"
        self.progress.update(self.task, description=f"{running}{self.best}")

    def show_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Leave a line about a trial that has ended."""
        ended = [other for other in counted(study.get_trials(deepcopy=False)) if other.state.is_finished()]
        if len(study.directions) == 1 and any(other.state == TrialState.COMPLETE for other in ended):
            self.best = f"; best {study.best_value:.2%}, trial {study.best_trial.number}"
        params = ", ".join(f"{name} {_short(value)}" for name, value in trial.params.items())
        line = f"trial {trial.number} {trial.state.name.lower()}: {_values(trial)}{params}{self.best}"
        self.progress.console.print(line, highlight=False, soft_wrap=True)
        self.progress.update(self.task, completed=len(ended))


@contextmanager
def show_study(num_trials: int) -> Iterator[StudyDisplay]:
    """A display for a study of `num_trials`."""
    columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()]
    with new_bar(*columns) as progress:
        yield StudyDisplay(num_trials, progress)


def describe_study(study: Study) -> str:
    """A study in a line, with its front where it has one."""
    trials = study.get_trials(deepcopy=False)
    states = Counter(trial.state.name.lower() for trial in trials)
    by_state = ", ".join(f"{count} {state}" for state, count in states.items())
    best = study.best_trials if any(trial.state == TrialState.COMPLETE for trial in trials) else []
    front = "; ".join(f"trial {trial.number}: {_values(trial).rstrip(', ')}" for trial in best)
    return f"{study.study_name}: {by_state or 'no trial'}; best {front or 'none yet'}"


def _values(trial: FrozenTrial) -> str:
    if trial.state != TrialState.COMPLETE:
        return ""
    accuracy, *costs = trial.values
    return ", ".join([f"accuracy {accuracy:.2%}", *(f"cost {cost:,.0f}" for cost in costs)]) + ", "


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
