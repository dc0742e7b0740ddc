"""Workers on Ray, on this machine or on a cluster. The only module that imports ray."""

import logging
import math
import os
import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray
import torch
from ray._private import ray_constants
from ray._private.services import resolve_ip_for_localhost
from ray.exceptions import RayError, RayTaskError

import lifline
from lifline.data.images import LabelledImages
from lifline.data.info import DatasetInfo
from lifline.device import choose_device
from lifline.errors import TuningError
from lifline.params import Params
from lifline.system.environment import SETTINGS
from lifline.system.signals import handlers_kept
from lifline.training.report import EpochReport
from lifline.tuning.trial import Data, Score, train_trial
from lifline.tuning.workers import POLL_SECONDS, TrialEvent, WorkerDiedError

OBJECT_STORE_BYTES = 256 * 2**20
"""Of which MNIST takes 47 MB."""

ADVICE = "; a cluster with a token wants RAY_AUTH_MODE=token, and the token in ~/.ray/auth_token"
CONNECT_SECONDS = 10
RESOURCE_STEP = 1e-4
"""Ray rounds to it."""

COLOURS = re.compile(r"\x1b\[[0-9;]*m")
MAX_FAILED_STARTS = 3
"""As often as workers may die before the first is ready."""


class _Worker:
    """A process that trains one trial at a time, epoch by epoch."""

    def __init__(self, device: str, num_threads: int, info: DatasetInfo, *data: Any) -> None:
        torch.set_num_threads(num_threads)
        training_images, training_labels, images, labels = (torch.tensor(array) for array in data)
        parts = Data(info, LabelledImages(training_images, training_labels), LabelledImages(images, labels))
        self.data = parts.to(choose_device(device))

    def is_ready(self) -> bool:
        return True

    def begin(self, params: Params) -> EpochReport | Score:
        self.training = train_trial(params, self.data)
        return self.go_on()

    def go_on(self) -> EpochReport | Score:
        return next(self.training)


class RayWorkers:
    """As many workers as Ray has room for, up to `num_workers`; one that dies is replaced.

    Args:
        num_workers: trials that are trained at once.
        address: of a cluster that this machine is a node of, HOST:PORT or auto; None starts Ray on this machine, for as
            long as it is used.
        cpus: cores, and so threads, of a worker; by default an equal share of this machine's, one on a cluster.
        gpus: GPUs of a worker, which may be a share of one; by default the share with which all workers fit
            on the GPUs there are.
    """

    def __init__(
        self, num_workers: int, address: str | None = None, cpus: float | None = None, gpus: float | None = None
    ) -> None:
        self.num_workers = num_workers
        self.address = address
        self.cpus = cpus
        self.gpus = gpus
        self.free: list[Any] = []
        self.busy: dict[int, Any] = {}
        self.awaited: dict[Any, Any] = {}
        """What is to come from Ray: a trial's number, or the worker that gets ready."""

        self.has_started = False
        self.num_failed_starts = 0

    @contextmanager
    def started(self, params: Params, data: Data) -> Iterator[None]:
        """Connect to Ray, and ask it for workers.

        Raises:
            TuningError: the cluster cannot be reached, or has no room for a worker.
        """
        with handlers_kept():
            self._connect()
        try:
            try:
                self._describe_worker(params, data)
                for _ in range(self.num_workers):
                    self._start_worker()
            except ValueError as error:  # a share that Ray does not take
                raise TuningError(f"--cpus-per-trial or --gpus-per-trial: {_lines(error)[0]}") from None
            yield
        finally:
            ray.shutdown()

    def num_free(self) -> int:
        """How many workers could begin a trial."""
        return len(self.free)

    def begin(self, number: int, params: Params) -> None:
        """Let a free worker train the trial with this number."""
        worker = self.busy[number] = self.free.pop()
        self.awaited[worker.begin.remote(params)] = number

    def go_on(self, number: int) -> None:
        """Let a trial train its next epoch."""
        self.awaited[self.busy[number].go_on.remote()] = number

    def stop(self, number: int) -> None:
        """Give up a trial, and free its worker."""
        self.free.append(self.busy.pop(number))

    def next_event(self) -> TrialEvent | None:
        """Wait a second for an event of a trial, or for a worker that gets ready.

        Raises:
            TuningError: workers do not start.
        """
        if not self.awaited:  # for which ray.wait does not wait
            time.sleep(POLL_SECONDS)
            return None
        ready, _ = ray.wait(list(self.awaited), timeout=POLL_SECONDS)
        if not ready:
            return None
        (reference,) = ready
        about = self.awaited.pop(reference)
        if not isinstance(about, int):
            self._on_start(about, reference)
            return None
        try:
            result = ray.get(reference)
        except RayTaskError as error:
            result = error.cause
        except RayError as error:  # by the worker's process, its node, Ray's memory monitor or a lost object
            del self.busy[about]
            self._start_worker()
            return TrialEvent(about, WorkerDiedError(_lines(error)[0]))
        if not isinstance(result, EpochReport):
            self.stop(about)
        return TrialEvent(about, result)

    def _connect(self) -> None:
        quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.CRITICAL}
        if self.address is None:
            here = {"address": "local", "include_dashboard": False, "object_store_memory": OBJECT_STORE_BYTES}
            options = quiet | here
        else:  # with our code, so that a node needs the dependencies alone
            _check_address(self.address)
            options = quiet | {"address": self.address, "runtime_env": {"py_modules": [lifline.__path__[0]]}}
        try:
            with _listening_on_localhost(self.address is None):
                ray.init(**options)
        except (RayError, ConnectionError, RuntimeError, ValueError) as error:
            where, advice = (self.address, ADVICE) if self.address else ("this machine", "")
            raise TuningError(f"Ray at {where} does not work: {_lines(error)[0]}{advice}") from None

    def _describe_worker(self, params: Params, data: Data) -> None:
        total = ray.cluster_resources()
        if self.cpus is None:
            self.cpus = 1 if self.address else _share(total["CPU"], self.num_workers)
        if self.gpus is None:
            self.gpus = _share_of_devices(int(total.get("GPU", 0)), self.num_workers)
        self._check_room()
        threads = max(1, int(self.cpus))
        self.actor = ray.remote(_Worker).options(
            num_cpus=self.cpus,
            num_gpus=self.gpus,
            runtime_env={"env_vars": _settings() | {"OMP_NUM_THREADS": str(threads)}},
        )
        arrays = [tensor.numpy() for part in (data.training, data.validation) for tensor in part]
        self.arguments = [params.train.device, threads, data.info, *(ray.put(array) for array in arrays)]

    def _check_room(self) -> None:
        options = (("CPU", "--cpus-per-trial", self.cpus or 0), ("GPU", "--gpus-per-trial", self.gpus or 0))
        for name, option, wanted in options:
            most = max((node["Resources"].get(name, 0) for node in ray.nodes() if node["Alive"]), default=0)
            if wanted > most:
                raise TuningError(f"{option} is {wanted:g}; allowed is up to {most:g}, which a node of Ray has")

    def _start_worker(self) -> None:
        worker: Any = self.actor.remote(*self.arguments)
        self.awaited[worker.is_ready.remote()] = worker

    def _on_start(self, worker: Any, reference: Any) -> None:
        try:
            ray.get(reference)
        except RayError as error:
            self.num_failed_starts += 1
            if not self.has_started and self.num_failed_starts >= MAX_FAILED_STARTS:
                raise TuningError(f"no worker on Ray starts: {_lines(error)[-1]}") from None
            self._start_worker()
        else:
            self.has_started = True
            self.free.append(worker)


def _settings() -> dict[str, str]:
    """This process's settings of libraries: a worker's process starts with them, whatever it imports first."""
    return {name: os.environ[name] for name in SETTINGS}


@contextmanager
def _listening_on_localhost(is_wanted: bool) -> Iterator[None]:
    """Let the Ray that is started be heard by this machine alone, as Ray itself does on macOS and Windows."""
    before = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = not is_wanted
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before


def _check_address(address: str) -> None:
    """Ray itself would try for many minutes."""
    host, _, port = address.rpartition(":")
    if address == "auto":
        return
    if not host or not port.isdecimal() or "/" in host:
        raise TuningError(f"--ray is {address!r}; allowed is HOST:PORT, or auto on a node of a cluster")
    try:
        socket.create_connection((resolve_ip_for_localhost(host), int(port)), CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise TuningError(f"Ray at {address} does not work: {error}") from None


def _share(total: float, num_workers: int) -> float:
    """Of cores: whole ones where there are enough, else a part that Ray does not round up."""
    share = total / num_workers
    return int(share) if share >= 1 else math.floor(share / RESOURCE_STEP) * RESOURCE_STEP


def _share_of_devices(num_devices: int, num_workers: int) -> float:
    """Of a GPU, which no share may straddle: as many workers on each as it takes."""
    if not num_devices:
        return 0
    return _share(1, math.ceil(num_workers / num_devices))


def _lines(error: BaseException) -> list[str]:
    """An error's words, without colours."""
    lines = [COLOURS.sub("", line).strip() for line in str(error).splitlines()]
    return [line for line in lines if line] or [type(error).__name__]
