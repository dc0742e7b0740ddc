"""A study's life: where it is kept, what it is, and which trial is next. With `trial.py`, all that imports optuna."""

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from secrets import token_hex
from typing import Literal

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
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
RUN = "mlflow_run"
AGAIN = "again"
"""The number of the trial that died, whose params a trial has."""

STARTUP_TRIALS = 5
optuna.logging.set_verbosity(optuna.logging.ERROR)


def open_storage() -> JournalStorage:
    """The journal of this repository's studies.

    Raises:
        TuningError: it is damaged.
    """
    path = repository_root() / "optuna.journal"
    with locked(_drivers() / "journal.lock"), naming(path):
        _cut_unfinished_line(path)
        try:
            return JournalStorage(JournalFileBackend(str(path)))
        except (ValueError, KeyError) as error:
            raise TuningError(f"{path} is damaged: {error}") from None


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
    with locked(_drivers() / "journal.lock"):
        study = optuna.create_study(
            storage=storage,
            study_name=name,
            directions=directions,
            load_if_exists=True,
            pruner=optuna.pruners.MedianPruner(n_startup_trials=STARTUP_TRIALS, n_warmup_steps=1),
        )
        if DEFINITION not in study.user_attrs:
            current = {param: value for param, value in params.flat().items() if param in space}
            study.enqueue_trial(as_suggested(current))
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

    The sampler's seed is of the trial's number, so that a study that was stopped goes on as if it had not been.
    """
    space = read_space(params)
    with _alone_in(study):
        trials = study.get_trials(deepcopy=False)
        if len(counted(trials)) >= budget:
            return None
        waiting = [trial.number for trial in trials if trial.state == TrialState.WAITING]
        number = waiting[0] if waiting else len(trials)
        study.sampler = optuna.samplers.TPESampler(seed=(params.train.seed + number) % 2**32)
        trial = study.ask(space)
        trial.set_user_attr(DRIVER, driver)
        return trial


def counted(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """The trials that take a place in the budget: one that died does not, since it is tried again."""
    again = {trial.user_attrs.get(AGAIN) for trial in trials}
    return [trial for trial in trials if trial.state != TrialState.WAITING and trial.number not in again]


def fail_dead_trials(study: Study) -> list[str]:
    """Fail the trials whose process is gone, and put them up to be tried again; returns their MLflow runs."""
    with _alone_in(study):
        dead = {path.name for path in abandoned(_drivers())}
        alive = {path.name for path in _drivers().iterdir()} - dead
        running = study.get_trials(states=[TrialState.RUNNING])
        died = [trial for trial in running if trial.user_attrs.get(DRIVER) not in alive]
        for trial in died:
            try_again(study, trial)
    return [trial.user_attrs[RUN] for trial in died if RUN in trial.user_attrs]


def try_again(study: Study, trial: FrozenTrial | Trial) -> None:
    """Fail a trial that is not to blame, and put its params up anew."""
    is_up = trial.number in {other.user_attrs.get(AGAIN) for other in study.get_trials(deepcopy=False)}
    if not is_up:  # unless a kill came between these two, last time
        study.enqueue_trial(trial.params, user_attrs={AGAIN: trial.number})
    study.tell(trial.number, state=TrialState.FAIL)


def _alone_in(study: Study) -> AbstractContextManager[None]:
    return locked(_drivers() / f"{study.study_name}.lock")


def _drivers() -> Path:
    return repository_root() / ".tuning"


def _cut_unfinished_line(path: Path) -> None:
    """What a full disk or a power cut left of the last record: nobody was told that it is there."""
    if path.exists() and (content := path.read_bytes()) and not content.endswith(b"\n"):
        path.write_bytes(content[: content.rfind(b"\n") + 1])
