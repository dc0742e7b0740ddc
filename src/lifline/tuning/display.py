"""How a study shows itself: a bar on a terminal, a line for each trial elsewhere."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column

from lifline.system.progress import new_bar
from lifline.training.report import EpochReport
from lifline.tuning.study import counted, is_tried_again

HOUR = 3600


class StudyDisplay:
    """Shows how far a study is, what is running and the best so far."""

    def __init__(self, num_trials: int, progress: Progress) -> None:
        self.num_trials = num_trials
        self.progress = progress
        self.task = progress.add_task("starting", total=num_trials)
        self.running: dict[int, str] = {}

    def show_start(self, study: Study) -> None:
        """Tell which study it is, and how far it has come."""
        num_ended = len(_ended(study))
        self._say(f"study {study.study_name}: {num_ended} of {self.num_trials} trials done")
        self.progress.reset(self.task, completed=num_ended)  # else those would count as done in a moment
        self._draw(study)

    def show_waiting(self) -> None:
        """Tell that no worker is there."""
        self._say("waiting for Ray to have room for a worker; `ray status` tells what it has")

    def show_epoch(self, study: Study, number: int, report: EpochReport) -> None:
        """Show what is running."""
        self.running[number] = f"{number} (epoch {report.epoch}: {report.validation_accuracy:.2%})"
        self._draw(study)

    def show_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Leave a line about a trial that has ended."""
        self.running.pop(trial.number, None)
        died = trial.state == TrialState.FAIL and is_tried_again(study, trial.number)
        fate = "died with its worker, is tried again" if died else trial.state.name.lower()
        params = ", ".join(f"{name} {_short(value)}" for name, value in trial.params.items())
        self._say(f"trial {trial.number} {fate}: {_values(trial)}{params}{_best(study)}")
        self._draw(study)

    def _draw(self, study: Study) -> None:
        ended = _ended(study)
        others = Counter(trial.state.name.lower() for trial in ended if trial.state != TrialState.COMPLETE)
        counts = [f"{count} {state}" for state, count in others.items()]
        running = [f"running {', '.join(self.running.values())}"] if self.running else []
        description = ", ".join(running + counts) + _best(study)
        self.progress.update(self.task, description=description, completed=len(ended))

    def _say(self, line: str) -> None:
        self.progress.console.print(line, highlight=False, soft_wrap=True)


@contextmanager
def show_study(num_trials: int) -> Iterator[StudyDisplay]:
    """A display for a study of `num_trials`."""
    text = TextColumn("{task.description}", table_column=Column(no_wrap=True))
    columns = [BarColumn(bar_width=20), MofNCompleteColumn(), TimeRemainingColumn(), text]
    with new_bar(*columns, speed_over_seconds=HOUR) as progress:
        yield StudyDisplay(num_trials, progress)


def describe_study(study: Study) -> str:
    """A study in a line, with its front where it has one."""
    trials = study.get_trials(deepcopy=False)
    states = Counter(trial.state.name.lower() for trial in trials)
    by_state = ", ".join(f"{count} {state}" for state, count in states.items())
    best = study.best_trials if any(trial.state == TrialState.COMPLETE for trial in trials) else []
    front = "; ".join(f"trial {trial.number}: {_values(trial).rstrip(', ')}" for trial in best)
    name = "front" if len(study.directions) > 1 else "best"
    return f"{study.study_name}: {by_state or 'no trial'}; {name} {front or 'none yet'}"


def _ended(study: Study) -> list[FrozenTrial]:
    return [trial for trial in counted(study.get_trials(deepcopy=False)) if trial.state.is_finished()]


def _best(study: Study) -> str:
    trials = study.get_trials(deepcopy=False)
    if len(study.directions) > 1 or not any(trial.state == TrialState.COMPLETE for trial in trials):
        return ""
    return f"; best {study.best_value:.2%}, trial {study.best_trial.number}"


def _values(trial: FrozenTrial) -> str:
    if trial.state != TrialState.COMPLETE:
        return ""
    accuracy, *costs = trial.values
    return ", ".join([f"accuracy {accuracy:.2%}", *(f"cost {cost:,.0f}" for cost in costs)]) + ", "


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
