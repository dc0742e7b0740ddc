"""Who served the data: kept outside of DVC's outputs, whose bytes are the same whoever did."""

import json
from pathlib import Path

from lifline.paths import repository_root
from lifline.system.files import write_json

UNKNOWN = "unknown"


def record_source(data_sha256: str, name: str) -> None:
    """Keep who served a data set, for the runs that read it."""
    write_json(_record(), {"sha256": data_sha256, "source": name})


def recorded_source(data_sha256: str) -> str:
    """Who served a data set here; as far as that is known, since DVC may have brought it."""
    try:
        record = json.loads(_record().read_bytes())
        return str(record["source"]) if record["sha256"] == data_sha256 else UNKNOWN
    except (OSError, ValueError, KeyError, TypeError):
        return UNKNOWN


def _record() -> Path:
    return repository_root() / ".lifline" / "data_source.json"
