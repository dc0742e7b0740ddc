"""Tensors in a file whose every bit is checked: safetensors, with a SHA-256 in the header."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import safetensors
import torch
from safetensors.torch import save
from torch import Tensor

SHA256 = "sha256"


class DamagedError(Exception):
    """A file of tensors does not hold what was written."""


def pack(tensors: Mapping[str, Tensor], header: Mapping[str, str]) -> bytes:
    """Return a file's bytes; equal tensors and headers give equal bytes."""
    return save(dict(tensors), metadata={**header, SHA256: _sha256(tensors, header)})


def unpack(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read a file's tensors and its header.

    Raises:
        DamagedError: the file is no file of tensors, has no SHA-256, or another.
        OSError: it cannot be read.
    """
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            header = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except safetensors.SafetensorError as error:
        raise DamagedError(str(error)) from None
    recorded = header.pop(SHA256, "none")
    if recorded != (found := _sha256(tensors, header)):
        raise DamagedError(f"its SHA-256 is {found}, recorded is {recorded}")
    return tensors, header


def _sha256(tensors: Mapping[str, Tensor], header: Mapping[str, str]) -> str:
    digest = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        digest.update(tensor.contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
