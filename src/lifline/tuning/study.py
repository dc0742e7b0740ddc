"""A study's life: where it is kept, what it is, and which trial is next."""

import hashlib
import json
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from secrets import token_hex
from typing import Any, Literal

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.storages.journal._file import BaseJournalFileLock
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, Trial, TrialState

from lifline.errors import TuningError
from lifline.files import naming, repository_root
from lifline.locks import abandoned, locked
from lifline.params import Params
from lifline.tuning.space import as_suggested, read_space

Cost = Literal["synaptic_operations", "num_steps"]
DEFINITION = "definition"
DRIVER = "driver"
AGAIN = "again"
"""The number of the trial that died, whose params a trial has."""

STARTUP_TRIALS = 5
MAX_DEATHS = 3
"""As often as a trial's process may die with it, by which the trial may be to blame."""

optuna.logging.set_verbosity(optuna.logging.ERROR)


def open_storage() -> JournalStorage:
    """The journal of this repository's studies.

    Raises:
        TuningError: it is damaged.
    """
    path = repository_root() / "optuna.journal"
    try:
        with naming(path):
            return JournalStorage(_Journal(path))
    except (ValueError, KeyError, TypeError, AssertionError) as error:
        raise TuningError(f"{path} is damaged: {type(error).__name__} {error}; move it away to begin anew") from None


class _Journal(JournalFileBackend):
    """Optuna's journal, under a lock that the system lets go of when its holder dies."""

    def __init__(self, path: Path) -> None:
        super().__init__(str(path), lock_obj=_JournalLock(path))
        self.path = path

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Append records; an error names the file."""
        with naming(self.path):
            super().append_logs(logs)


class _JournalLock(BaseJournalFileLock):
    def __init__(self, path: Path) -> None:
        self.path = path
        self.held = ExitStack()

    def acquire(self) -> bool:
        self.held.enter_context(locked(_drivers() / "journal.lock"))
        _cut_unfinished_line(self.path)
        return True

    def release(self) -> None:
        self.held.close()


def open_study(storage: JournalStorage, params: Params, cost: Cost | None, name: str | None) -> Study:
    """The study of these params, which is made where there is none; its first trial is the params as they are.

    Raises:
        ParamsError: the space is not allowed.
        TuningError: the study with this name is another's.
    """
    space = read_space(params)
    definition = json.dumps(
        {"space": params.tune.space, "epochs": params.tune.epochs, "cost": cost, "base": params.flat()}, sort_keys=True
    )
    objective = "accuracy" if cost is None else f"accuracy-{cost}"
    if name is not None and not re.fullmatch(r"[\w.-]+", name, re.ASCII):
        raise TuningError(f"study is {name!r}; allowed are letters, digits, and the signs _ . -")
    name = name or f"{objective}-{hashlib.sha256(definition.encode()).hexdigest()[:8]}"
    directions = [StudyDirection.MAXIMIZE] + [StudyDirection.MINIMIZE] * (cost is not None)
    with locked(_drivers() / f"{name}.lock"):
        study = optuna.create_study(
            storage=storage,
            study_name=name,
            directions=directions,
            load_if_exists=True,
            pruner=optuna.pruners.MedianPruner(n_startup_trials=STARTUP_TRIALS, n_warmup_steps=1),
        )
        if not study.get_trials(deepcopy=False):
            current = {param: value for param, value in params.flat().items() if param in space}
            study.enqueue_trial(as_suggested(current))
        if DEFINITION not in study.user_attrs:
            study.set_user_attr(DEFINITION, definition)
    if study.user_attrs[DEFINITION] != definition:
        raise TuningError(f"study {name} has another space, objective or other base params; give another --study")
    return study


@contextmanager
def driving() -> Iterator[str]:
    """A name for this process, under which it holds its trials while it lives."""
    driver = _drivers() / token_hex(8)
    with locked(driver):
        yield driver.name
        driver.unlink()


def next_trial(study: Study, params: Params, budget: int, driver: str) -> Trial | None:
    """The next trial, as long as fewer than `budget` are done or being done.

    The sampler's seed is of how many there are, so that a study that was stopped goes on as if it had not been.
    """
    space = read_space(params)
    with _alone_in(study):
        number = len(counted(study.get_trials(deepcopy=False)))
        if number >= budget:
            return None
        study.sampler = optuna.samplers.TPESampler(seed=(params.train.seed + number) % 2**32)
        trial = study.ask(space)
        trial.set_user_attr(DRIVER, driver)
        return trial


def counted(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """The trials that take a place in the budget: one that died does not, since it is tried again."""
    again = {trial.user_attrs.get(AGAIN) for trial in trials}
    return [trial for trial in trials if trial.state != TrialState.WAITING and trial.number not in again]


def fail_dead_trials(study: Study) -> None:
    """Fail the trials whose process is gone, and put them up to be tried again."""
    with _alone_in(study):
        dead = {path.name for path in abandoned(_drivers())}
        alive = {path.name for path in _drivers().iterdir()} - dead
        for trial in study.get_trials(states=[TrialState.RUNNING]):
            if trial.user_attrs.get(DRIVER) not in alive:
                try_again(study, trial.number)


def try_again(study: Study, number: int) -> None:
    """Fail a trial that died, and put its params up anew, unless they have died too often."""
    trials = study.get_trials(deepcopy=False)
    if trials[number].state.is_finished():
        return
    again = {trial.user_attrs.get(AGAIN) for trial in trials}
    deaths, ancestor = 1, trials[number]
    while AGAIN in ancestor.user_attrs:
        deaths, ancestor = deaths + 1, trials[ancestor.user_attrs[AGAIN]]
    if number not in again and deaths < MAX_DEATHS:  # it is, where a kill came between the next two lines
        values = trials[number].system_attrs.get("fixed_params", {}) | trials[number].params
        study.enqueue_trial(values, user_attrs={AGAIN: number})
    study.tell(number, state=TrialState.FAIL)


def _alone_in(study: Study) -> AbstractContextManager[None]:
    return locked(_drivers() / f"{study.study_name}.lock")


def _drivers() -> Path:
    return repository_root() / ".tuning"


def _cut_unfinished_line(path: Path) -> None:
    """What a full disk or a power cut left of the last record: nobody was told that it is there."""
    content = path.read_bytes()
    if not content.endswith(b"\n"):
        os.truncate(path, content.rfind(b"\n") + 1)
