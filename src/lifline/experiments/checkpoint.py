"""Checkpoints: a training that is killed goes on from its last finished epoch, bit by bit as if it never had been."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import torch

from lifline.data.tensor_file import DamagedError, pack, unpack
from lifline.errors import TrainingError
from lifline.experiments.fingerprint import fingerprint
from lifline.params import Params
from lifline.paths import repository_root
from lifline.system.files import write_bytes
from lifline.system.locks import LockHeldError, abandoned, locked
from lifline.training.fit import TrainingState
from lifline.training.health import Health
from lifline.training.report import EpochReport

MAX_FILES = 10
"""Of trainings that nobody went on with, the oldest are forgotten."""


@contextmanager
def checkpoint_of(params: Params, data_sha256: str, device: torch.device) -> Iterator["Checkpoint"]:
    """The checkpoint of a training; removed if the body succeeds, since what the training made is written then.

    It lies outside of DVC's outputs, which DVC removes before a stage runs.

    Raises:
        TrainingError: another process trains the very same now.
    """
    sha256 = fingerprint(params, data_sha256, device)
    path = _path_of(sha256)
    lock = path.with_suffix(".lock")
    try:
        with locked(lock, wait=False):
            _forget_what_nobody_needs(path)
            try:
                yield Checkpoint(path, sha256)
                path.unlink(missing_ok=True)
            finally:
                lock.unlink()
    except LockHeldError:
        raise TrainingError(
            f"{lock} is held: another process trains with the same params, seed {params.train.seed}; let it end, or "
            "stop it"
        ) from None


def forget_checkpoint(params: Params, data_sha256: str, device: torch.device) -> None:
    """Remove the checkpoint of a training whose outcome is kept: it was killed when it had all but ended."""
    _path_of(fingerprint(params, data_sha256, device)).unlink(missing_ok=True)


class Checkpoint:
    """A file with a training's state."""

    def __init__(self, path: Path, sha256: str) -> None:
        self.path = path
        self.fingerprint = sha256

    def save(self, state: TrainingState) -> None:
        """Replace what was saved before."""
        tensors = {name: tensor.cpu() for name, tensor in state.tensors().items()}
        tensors["losses"] = torch.tensor([loss for report in state.reports for loss in report.losses])
        reports = [
            report._replace(losses=[])._asdict() | {"health": report.health._asdict()} for report in state.reports
        ]
        header = {"fingerprint": self.fingerprint, "reports": reports}
        write_bytes(self.path, pack(tensors, header))

    def restore(self, state: TrainingState) -> None:
        """Bring a fresh state to where it was saved; without a file it stays fresh.

        Raises:
            TrainingError: the file is damaged, or of a training with other params, data or code.
        """
        try:
            tensors, header, _ = unpack(self.path)
            if header.get("fingerprint") != self.fingerprint:
                raise TrainingError(f"{self.path} is of a training with other params, data or code; remove it")
            reports = [EpochReport(**{**report, "health": Health(**report["health"])}) for report in header["reports"]]
            losses = tensors["losses"].tolist()
            bounds = [0, *(report.iteration for report in reports)]
            with_losses = [
                report._replace(losses=losses[a:b]) for report, (a, b) in zip(reports, pairwise(bounds), strict=True)
            ]
            state.restore(tensors, with_losses)
        except FileNotFoundError:
            return
        except (DamagedError, RuntimeError, KeyError, TypeError, ValueError) as error:
            raise TrainingError(f"{self.path} is damaged: {error}; remove it to train from the start") from None


def _path_of(sha256: str) -> Path:
    return repository_root() / ".checkpoints" / f"{sha256[:16]}.safetensors"


def _forget_what_nobody_needs(kept: Path) -> None:
    """Remove the oldest checkpoints, and what processes that were killed left of locks and half-written files."""
    others = sorted(kept.parent.glob("*.safetensors"), key=lambda path: path.stat().st_mtime)
    for path in [other for other in others if other != kept][: 1 - MAX_FILES]:
        path.unlink(missing_ok=True)
    for path in abandoned(kept.parent):
        if path.suffix in (".lock", ".tmp"):
            path.unlink()
