"""Where to compute."""

import os

import torch

from lifline.errors import TrainingError


def choose_device(wanted: str) -> torch.device:
    """The device that `train.device` asks for; `auto` takes CUDA, else MPS, else the CPU.

    A repeated run gives the same bytes on the same kind of device: PyTorch is asked for deterministic algorithms.

    Raises:
        TrainingError: the device is not there.
    """
    there = [name for name, is_there in _available().items() if is_there]
    name = there[0] if wanted == "auto" else wanted
    if name not in there:
        raise TrainingError(
            f"train.device is {wanted}, which this machine does not have; allowed here: auto, {', '.join(there)}"
        )
    if name != "cpu":  # where what we use is deterministic anyway
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS is deterministic only with this
        torch.use_deterministic_algorithms(True, warn_only=True)
    return torch.device(name)


def describe_device(device: torch.device) -> str:
    """The device in words, for a run's tags."""
    if device.type == "cuda":
        return f"cuda ({torch.cuda.get_device_name(device)})"
    return f"{device.type} ({torch.get_num_threads()} threads)" if device.type == "cpu" else device.type


def _available() -> dict[str, bool]:
    return {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
