"""Tensors in a file whose every bit is checked: safetensors, with a SHA-256 in the header."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import safetensors
import torch
from safetensors.torch import save
from torch import Tensor

HEADER = "header"
"""The one key of the file's metadata: with more, safetensors writes them in an order by chance."""

SHA256 = "sha256"


class DamagedError(Exception):
    """A file of tensors does not hold what was written."""


def pack(tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> bytes:
    """Return a file's bytes; equal tensors and headers, of values that JSON knows, give equal bytes."""
    whole = {**header, SHA256: _sha256(tensors, header)}
    return save(dict(tensors), metadata={HEADER: json.dumps(whole, sort_keys=True)})


class Unpacked(NamedTuple):
    """What a file of tensors holds."""

    tensors: dict[str, Tensor]
    header: dict[str, Any]

    sha256: str
    """Of both."""


def unpack(path: Path) -> Unpacked:
    """Read a file, and check every bit of it.

    Raises:
        DamagedError: the file is no file of tensors, has no SHA-256, or another.
        OSError: it cannot be read.
    """
    path.open("rb").close()  # whose errors name the file; those of safetensors do not
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {}).get(HEADER, "{}"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (safetensors.SafetensorError, ValueError, RecursionError) as error:
        raise DamagedError(str(error)) from None
    recorded = header.pop(SHA256, "none") if isinstance(header, dict) else "none"
    if recorded != (found := _sha256(tensors, header)):
        raise DamagedError(f"its SHA-256 is {found}, recorded is {recorded}")
    return Unpacked(tensors, header, found)


def _sha256(tensors: Mapping[str, Tensor], header: Any) -> str:
    digest = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        digest.update(tensor.contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
