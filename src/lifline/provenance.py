"""Who served the data: kept outside of DVC's outputs, whose bytes are the same whoever did."""

import json
from pathlib import Path

from lifline.data.datasets import MNIST
from lifline.paths import repository_root
from lifline.system.files import write_json

UNKNOWN = "unknown"


def record_source(name: str) -> None:
    """Keep who served, for the runs that read the files: no output of DVC's, which is the same whoever serves."""
    write_json(_record(), {"sha256": MNIST.sha256, "source": name})


def recorded_source() -> str:
    """Who served the files here; as far as that is known, since DVC may have brought them."""
    try:
        record = json.loads(_record().read_bytes())
        return str(record["source"]) if record["sha256"] == MNIST.sha256 else UNKNOWN
    except (OSError, ValueError, KeyError, TypeError):
        return UNKNOWN


def _record() -> Path:
    return repository_root() / ".lifline" / "mnist_source.json"
