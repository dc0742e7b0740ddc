"""What decides the outcome of a training, as one hash."""

import hashlib
import json
import os
from functools import cache
from importlib.metadata import version
from pathlib import Path

import torch

from lifline.device import describe_device
from lifline.params import Params

COMPUTING = ("choices.py", "data", "device.py", "evaluation", "layers.py", "models", "params", "snn", "training")
"""What decides how a training ends and how it is judged; the stages depend on those of it that they reach."""

NOT_OF_TRAINING: dict[str, bool | set[str]] = {
    "data": {"dataset", "test_share"},
    "export": True,
    "champion": True,
    "tune": True,
}
"""Params of other stages and commands."""

LIBRARIES = ("torch", "numba")


def fingerprint(params: Params, data_sha256: str, device: torch.device) -> str:
    """A hash of what decides the bits that training ends with.

    That are the params it reads, the data, its code, the kernels, the device with its threads, and the libraries that
    compute.
    """
    parts = {
        "params": params.model_dump(exclude=NOT_OF_TRAINING),
        "data": data_sha256,
        "code": _code_sha256(),
        "kernels": os.environ.get("LIFLINE_KERNELS", "fused"),
        "device": describe_device(device),
        "libraries": [version(library) for library in LIBRARIES],
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


@cache
def _code_sha256() -> str:
    """Of the code as it is at first: a process does not run what is written later."""
    package = Path(__file__).parents[1]
    parts = [package / name for name in COMPUTING]
    files = sorted(file for part in parts for file in ([part] if part.is_file() else part.rglob("*.py")))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
