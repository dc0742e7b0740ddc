"""Workers train trials, and tell the driver of each epoch; here the one that works in the driver's own process."""

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple, Protocol

from lifline.device import choose_device
from lifline.params import Params
from lifline.training.report import EpochReport
from lifline.tuning.trial import Data, Score, train_trial

POLL_SECONDS = 1


class WorkerDiedError(Exception):
    """A worker is gone in the middle of a trial, which is not to blame."""


class TrialEvent(NamedTuple):
    """How a trial has got on: it trained an epoch and waits for `go_on` or `stop`, or it has ended."""

    number: int
    """The trial's."""

    result: EpochReport | Score | Exception


class Workers(Protocol):
    """Those who train a study's trials."""

    def started(self, params: Params, data: Data) -> AbstractContextManager[object]:
        """A context in which there are workers, with these images at hand."""

    def num_free(self) -> int:
        """How many workers could begin a trial."""

    def begin(self, number: int, params: Params) -> None:
        """Let a free worker train the trial with this number."""

    def go_on(self, number: int) -> None:
        """Let a trial that has trained an epoch go on."""

    def stop(self, number: int) -> None:
        """Give up a trial that has trained an epoch."""

    def next_event(self) -> TrialEvent | None:
        """Wait for an event of a trial; None where none came for a moment, or a worker has become free."""


class InProcess:
    """One worker: this process."""

    def __init__(self) -> None:
        self.trainings: dict[int, Iterator[EpochReport | Score]] = {}

    def started(self, params: Params, data: Data) -> AbstractContextManager[object]:
        """Put the images on the device."""
        self.data = data.to(choose_device(params.train.device))
        return nullcontext()

    def num_free(self) -> int:
        """None while a trial is being trained, else one."""
        return 1 - len(self.trainings)

    def begin(self, number: int, params: Params) -> None:
        """Train this trial from now on."""
        self.trainings[number] = train_trial(params, self.data)

    def go_on(self, number: int) -> None:
        """Nothing to do: `next_event` trains."""

    def stop(self, number: int) -> None:
        """Forget the trial."""
        del self.trainings[number]

    def next_event(self) -> TrialEvent | None:
        """Train an epoch, or score; wait a second where there is no trial."""
        if not self.trainings:
            time.sleep(POLL_SECONDS)
            return None
        (number,) = self.trainings
        result: EpochReport | Score | Exception
        try:
            result = next(self.trainings[number])
        except Exception as error:
            result = error
        if not isinstance(result, EpochReport):
            del self.trainings[number]
        return TrialEvent(number, result)
