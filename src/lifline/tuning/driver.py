"""Drives a study: asks it for trials, lets workers train them, prunes, and tells the study and MLflow."""

import math
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Protocol

from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState

from lifline.data.images import split_training_images
from lifline.download.obtain import load_obtained
from lifline.errors import TrainingError, is_out_of_memory
from lifline.params import Params
from lifline.system.signals import signals_held_off
from lifline.system.tracebacks import clear_frames
from lifline.tracking import runs as tracking
from lifline.tracking.run import Run
from lifline.training.report import EpochReport
from lifline.tuning.figures import draw_study
from lifline.tuning.repeats import is_used_up, twin_of
from lifline.tuning.space import as_params
from lifline.tuning.storage import Store, open_store
from lifline.tuning.study import (
    DRIVER,
    REPEATS,
    TRAINED,
    Cost,
    complete_trials,
    fail_dead_trials,
    is_full,
    next_trial,
    open_study,
    retry,
)
from lifline.tuning.trial import Data, Score
from lifline.tuning.workers import InProcess, TrialEvent, WorkerDiedError, Workers

STATUSES = {TrialState.COMPLETE: "FINISHED", TrialState.PRUNED: "KILLED", TrialState.FAIL: "FAILED"}
PATIENCE_SECONDS = 30


class Watcher(Protocol):
    """Who is told how a study gets on."""

    def show_start(self, study: Study) -> None:
        """The study as it is found."""

    def show_waiting(self) -> None:
        """No worker is there, and none has come for a while."""

    def show_epoch(self, study: Study, number: int, report: EpochReport) -> None:
        """An epoch of the trial with this number."""

    def show_trial(self, study: Study, trial: FrozenTrial) -> None:
        """A trial that has ended."""


def tune(
    params: Params,
    num_trials: int,
    watcher: Watcher,
    *,
    timeout: float | None = None,
    cost: Cost | None = None,
    name: str | None = None,
    storage: str | None = None,
    workers: Workers | None = None,
) -> Study:
    """Run a study until it has `num_trials`, those of earlier calls and of other drivers included.

    Args:
        params: with the space in `tune.space`; what is not in the space stays as it is.
        num_trials: of the whole study.
        watcher: told of each epoch and each trial.
        timeout: seconds after which no trial is begun.
        cost: what to trade accuracy for, or None.
        name: of the study; by default a hash of what it is.
        storage: URL of the study's database; by default the journal of this repository.
        workers: who trains; by default this process.

    Raises:
        LiflineError: the space, the study, its storage, the workers or MLflow cannot be used.
    """
    ends = time.monotonic() + timeout if timeout is not None else None
    dataset = load_obtained(params)
    split = split_training_images(dataset.train, params.data)
    data = Data(dataset.info, split.training, split.validation)
    store = open_store(storage)
    study = open_study(store, params, dataset.sha256, cost, name)
    workers = workers or InProcess()
    with ExitStack() as stack:
        stack.enter_context(workers.started(params, data))
        driver = stack.enter_context(store.driving())
        with store.exclusive(study.study_name):  # drivers that start at once are to share one run
            parent = stack.enter_context(tracking.study_run(params, study.study_name))
            _end_forgotten_runs(parent, store, study)
        parent.log_dataset(dataset, "train")
        watcher.show_start(study)
        _Driver(driver, store, study, params, cost, workers, watcher, parent).run(num_trials, ends)
        parent.log_figures(draw_study(study))
    return study


def _end_forgotten_runs(parent: Run, store: Store, study: Study) -> None:
    """Give the runs of trials that have ended the status of their trial, where their driver went without doing so.

    A driver that is alive ends its own. The caller keeps other drivers out.
    """
    alive = store.live_drivers()  # before the runs are looked for: who is gone by then ends none of them
    forgotten = tracking.running_trials(parent)
    ended = {trial.number: trial for trial in study.get_trials(deepcopy=False) if trial.state in STATUSES}
    for number, run in forgotten:
        if number in ended and ended[number].user_attrs.get(DRIVER) not in alive:
            tracking.end_trial_run(run, STATUSES[ended[number].state], "its end was not told")


@dataclass
class _Running:
    trial: Trial
    params: Params
    run: Run | None = None
    is_waiting: bool = False
    """Whether its params are being trained by an earlier trial; a worker rests meanwhile."""


class _Driver:
    """Runs trials beside each other, as many as there are workers."""

    def __init__(
        self,
        name: str,
        store: Store,
        study: Study,
        params: Params,
        cost: Cost | None,
        workers: Workers,
        watcher: Watcher,
        parent: Run,
    ) -> None:
        self.name = name
        self.store = store
        self.study = study
        self.params = params
        self.cost = cost
        self.workers = workers
        self.watcher = watcher
        self.parent = parent
        self.running: dict[int, _Running] = {}

    def run(self, num_trials: int, ends: float | None) -> None:
        """Until the study has so many trials, or the time is over.

        A signal that stops is heeded while trials are trained, and while this driver waits for another one: never
        between what is told to the study and what is told to MLflow.
        """
        waiting_since = time.monotonic()
        try:
            while self._begin_trials(num_trials, ends) or self.running:
                had_work = bool(self.running)
                if event := self.workers.next_event():
                    with signals_held_off():
                        self._on_event(event)
                if self._waiting():
                    self._take_up_waiting()
                if self.running or had_work:
                    waiting_since = time.monotonic()
                elif time.monotonic() - waiting_since > PATIENCE_SECONDS:
                    waiting_since = math.inf
                    self.watcher.show_waiting()
        except BaseException as error:
            clear_frames(error)  # they may hold the stores' locks, which those who stop the trials need
            with signals_held_off():
                self._stop_trials(type(error).__name__)
            raise

    def _begin_trials(self, num_trials: int, ends: float | None) -> bool:
        """Give every free worker a trial, which may have to wait for another; whether there may be more."""
        while ends is None or time.monotonic() < ends:
            if self.workers.num_free() <= len(self._waiting()):
                return not is_full(self.study, num_trials)
            with self.store.exclusive(self.study.study_name), signals_held_off():
                self._fail_dead_trials()
                if is_used_up(self.study):
                    return False
                trial = next_trial(self.study, self.params, num_trials, self.name)
                if trial is None:
                    return False
                self._begin(trial)
        return False

    def _fail_dead_trials(self) -> None:
        for number in fail_dead_trials(self.store, self.study):
            tracking.close_dead_trial(self.parent, number)

    def _begin(self, trial: Trial) -> None:
        values = {"train.epochs": self.params.tune.epochs} | as_params(trial.params)
        running = self.running[trial.number] = _Running(trial, self.params.with_values(values))
        running.run = tracking.start_trial_run(self.parent, running.params, trial.number)
        self._train_or_repeat(running)

    def _train_or_repeat(self, running: _Running) -> None:
        """Train a trial, or give it the outcome of the one with the same params, for which it waits if need be."""
        twin = twin_of(self.study, running.trial)
        running.is_waiting = twin is not None and not twin.state.is_finished()
        if twin is None:
            self.workers.begin(running.trial.number, running.params)
        elif not running.is_waiting:
            self._repeat(running, twin)

    def _waiting(self) -> list[_Running]:
        return [running for running in self.running.values() if running.is_waiting]

    def _take_up_waiting(self) -> None:
        """Look again after the trials that wait for another."""
        with self.store.exclusive(self.study.study_name), signals_held_off():
            self._fail_dead_trials()
            for waiting in self._waiting():
                if self._is_finished(waiting.trial.number):
                    self._let_go(waiting.trial.number)
                else:
                    self._train_or_repeat(waiting)

    def _repeat(self, running: _Running, known: FrozenTrial) -> None:
        """End a trial as the one with the same params ended, and leave of it what training it would have left."""
        trial = running.trial
        trial.set_user_attr(REPEATS, known.number)
        for epoch, accuracy in known.intermediate_values.items():
            trial.report(accuracy, epoch)
        tracking.log_repetition(self.parent, self._run(trial.number), known.number)
        reason = f"repeats trial {known.number}, which was pruned" if known.state == TrialState.PRUNED else ""
        if known.state == TrialState.COMPLETE:
            trial.set_user_attr(TRAINED, True)
        self._end(trial.number, known.state, known.values if known.state == TrialState.COMPLETE else None, reason)

    def _is_finished(self, number: int) -> bool:
        return self.study.get_trials(deepcopy=False)[number].state.is_finished()

    def _on_event(self, event: TrialEvent) -> None:
        number, result = event
        if self._is_finished(number):
            self._on_end_told_elsewhere(event)
        elif isinstance(result, EpochReport):
            self._on_epoch(number, result)
        elif isinstance(result, Score):
            self._on_score(number, result)
        elif isinstance(result, WorkerDiedError):
            self._retry(number, f"its worker died: {result}")
            self.watcher.show_trial(self.study, self.study.get_trials(deepcopy=False)[number])
        else:
            self._end(number, TrialState.FAIL, reason=f"{type(result).__name__}: {result}")
            if not (isinstance(result, TrainingError) or is_out_of_memory(result)):
                raise result

    def _on_epoch(self, number: int, report: EpochReport) -> None:
        if is_hopeless := self._is_hopeless(self.running[number], report):
            self.workers.stop(number)
        else:
            self.workers.go_on(number)
        self._run(number).log_metrics(report.as_metrics(), step=report.epoch)
        self.watcher.show_epoch(self.study, number, report)
        if is_hopeless:
            self._end(number, TrialState.PRUNED, reason=f"pruned after epoch {report.epoch}")

    def _is_hopeless(self, running: _Running, report: EpochReport) -> bool:
        if self.cost is not None:  # Optuna prunes for one objective alone
            return False
        running.trial.report(report.validation_accuracy, report.epoch)
        return report.epoch < running.params.train.epochs and running.trial.should_prune()

    def _on_score(self, number: int, score: Score) -> None:
        self._run(number).log_metrics({"validation": score.metrics})
        self.running[number].trial.set_user_attr(TRAINED, True)
        values = [score.accuracy, *([score.costs[self.cost]] if self.cost else [])]
        self._end(number, TrialState.COMPLETE, values=values)
        best = max(trial.values[0] for trial in complete_trials(self.study, trained=True))
        self.parent.log_metrics({"validation": {"accuracy": best}})

    def _on_end_told_elsewhere(self, event: TrialEvent) -> None:
        """Let go of a trial whose end another program told the study."""
        if isinstance(event.result, EpochReport):
            self.workers.stop(event.number)
        self._let_go(event.number)

    def _let_go(self, number: int) -> None:
        run = self._run(number)
        del self.running[number]
        tracking.end_trial_run(run, "FAILED", "another program ended the trial")
        self.watcher.show_trial(self.study, self.study.get_trials(deepcopy=False)[number])

    def _end(self, number: int, state: TrialState, values: list[float] | None = None, reason: str = "") -> None:
        run = self._run(number)
        ended = self.study.tell(self.running[number].trial, values, state)
        del self.running[number]
        tracking.end_trial_run(run, STATUSES[state], reason)
        self.watcher.show_trial(self.study, ended)

    def _stop_trials(self, reason: str) -> None:
        for number in list(self.running):
            with suppress(Exception):  # the storage or MLflow may be what broke; that error is the one to tell
                self._retry(number, reason, is_stopped=True)

    def _retry(self, number: int, reason: str, is_stopped: bool = False) -> None:
        run = self.running.pop(number).run
        try:
            retry(self.study, number, is_stopped)
        finally:
            if run is not None:
                tracking.end_trial_run(run, "FAILED", reason)

    def _run(self, number: int) -> Run:
        run = self.running[number].run
        assert run is not None
        return run
