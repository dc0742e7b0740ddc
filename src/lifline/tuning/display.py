"""How a study shows itself: a bar on a terminal, a line for each trial elsewhere."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column

from lifline.system.progress import new_bar
from lifline.training.diagnosis import has_few_steps
from lifline.training.report import EpochReport
from lifline.tuning.repeats import is_used_up, num_combinations
from lifline.tuning.study import REPEATS, best_trials, complete_trials, counted, is_retried

HOUR = 3600


class StudyDisplay:
    """Shows how far a study is, what is running and the best so far."""

    def __init__(self, num_trials: int, progress: Progress) -> None:
        self.num_trials = num_trials
        self.progress = progress
        self.task = progress.add_task("starting", total=num_trials)
        self.running: dict[int, str] = {}
        self.iterations: dict[int, int] = {}
        self.has_warned = False

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
        self.iterations[number] = report.iteration
        self.running[number] = f"{number} (epoch {report.epoch}: {report.validation_accuracy:.2%})"
        self._draw(study)

    def show_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Leave a line about a trial that has ended."""
        self.running.pop(trial.number, None)
        died = trial.state == TrialState.FAIL and is_retried(study, trial.number)
        fate = "died with its worker, is tried again" if died else trial.state.name.lower()
        if (number := trial.user_attrs.get(REPEATS)) is not None:
            fate = f"{fate}, as trial {number} with the same params"
        params = ", ".join(f"{name} {_short(value)}" for name, value in trial.params.items())
        self._say(f"trial {trial.number} {fate}: {_values(trial)}{params}{_best(study)}")
        self._warn_of_few_steps(trial)
        self._draw(study)

    def _warn_of_few_steps(self, trial: FrozenTrial) -> None:
        """Tell once that trials are too short to tell params apart."""
        iterations = self.iterations.pop(trial.number, 0)
        if self.has_warned or trial.state != TrialState.COMPLETE or not has_few_steps(iterations, trial.values[0]):
            return
        self.has_warned = True
        self._say(
            f"warning: few steps: {iterations} optimizer steps in trial {trial.number}; "
            "make train.batch_size smaller or tune.epochs larger"
        )

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
    front = "; ".join(f"trial {trial.number}: {_values(trial).rstrip(', ')}" for trial in best_trials(study))
    name = "front" if len(study.directions) > 1 else "best"
    used_up = f"all {num_combinations(study):,} combinations have been tried" if is_used_up(study) else ""
    parts = [by_state or "no trial", f"{name} {front or 'none yet'}", describe_untrained(study), used_up]
    return f"{study.study_name}: {'; '.join(filter(None, parts))}"


def describe_untrained(study: Study) -> str:
    """Which complete trials have no mark that lifline trained them, or nothing."""
    untrained = complete_trials(study, trained=False)
    if not untrained:
        return ""
    accuracies = ", ".join(f"{trial.number} ({trial.values[0]:.2%})" for trial in untrained)
    return f"without a mark that lifline trained it: trial {accuracies}"


def _ended(study: Study) -> list[FrozenTrial]:
    return [trial for trial in counted(study.get_trials(deepcopy=False)) if trial.state.is_finished()]


def _best(study: Study) -> str:
    best = best_trials(study)
    if len(study.directions) > 1 or not best:
        return ""
    return f"; best {best[0].values[0]:.2%}, trial {best[0].number}"


def _values(trial: FrozenTrial) -> str:
    if trial.state != TrialState.COMPLETE:
        return ""
    accuracy, *costs = trial.values
    return ", ".join([f"accuracy {accuracy:.2%}", *(f"cost {cost:,.0f}" for cost in costs)]) + ", "


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
