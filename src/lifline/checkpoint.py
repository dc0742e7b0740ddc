"""Checkpoints: a training that is killed goes on from its last finished epoch, bit by bit as if it never had been."""

import json

import safetensors
from safetensors.torch import save

from lifline.errors import TrainingError
from lifline.files import repository_root, write_bytes
from lifline.fingerprint import fingerprint
from lifline.params import Params
from lifline.training import EpochReport, TrainingState


class Checkpoint:
    """The file with a training's state; it lies outside of DVC's outputs, which DVC removes before a stage runs."""

    def __init__(self, params: Params) -> None:
        self.fingerprint = fingerprint(params)
        self.path = repository_root() / ".checkpoints" / f"{self.fingerprint[:16]}.safetensors"

    def save(self, state: TrainingState) -> None:
        """Replace what was saved before."""
        header = {
            "fingerprint": self.fingerprint,
            "reports": json.dumps([report._asdict() for report in state.reports]),
        }
        write_bytes(self.path, save({name: tensor.cpu() for name, tensor in state.tensors().items()}, metadata=header))

    def restore(self, state: TrainingState) -> None:
        """Bring a fresh state to where it was saved; without a file it stays fresh.

        Raises:
            TrainingError: the file is damaged, or of a training with other params, data or code.
        """
        try:
            with safetensors.safe_open(self.path, framework="pt") as file:
                header = file.metadata() or {}
                if header.get("fingerprint") != self.fingerprint:
                    raise TrainingError(f"{self.path} is of a training with other params, data or code; remove it")
                reports = [EpochReport(**report) for report in json.loads(header["reports"])]
                state.restore({name: file.get_tensor(name) for name in file.keys()}, reports)  # noqa: SIM118
        except FileNotFoundError:
            return
        except (safetensors.SafetensorError, RuntimeError, KeyError, TypeError, ValueError) as error:
            raise TrainingError(f"{self.path} is damaged: {error}; remove it to train from the start") from None

    def remove(self) -> None:
        """Forget the training: what it made is written."""
        self.path.unlink(missing_ok=True)
