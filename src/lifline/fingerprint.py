"""What decides the outcome of a training, as one hash."""

import hashlib
import json
from pathlib import Path

from lifline.data.mnist import DATA_SHA256
from lifline.params import Params


def fingerprint(params: Params) -> str:
    """A hash of the params that training reads, of the data and of lifline's code; equal ones train equal networks."""
    parts = {
        "params": params.model_dump(exclude={"export"}),
        "data": DATA_SHA256,
        "code": [hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(Path(__file__).parent.rglob("*.py"))],
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
