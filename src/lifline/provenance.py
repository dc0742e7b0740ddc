"""Who served the data: kept outside of DVC's outputs, whose bytes are the same whoever did."""

import json
from pathlib import Path

from lifline.paths import repository_root
from lifline.system.files import write_json

UNKNOWN = "unknown"


def record_source(data_sha256: str, name: str) -> None:
    """Keep who served a data set, for the runs that read it."""
    write_json(_record(), _sources() | {data_sha256: name})


def recorded_source(data_sha256: str) -> str:
    """Who served a data set here; as far as that is known, since DVC may have brought it."""
    return _sources().get(data_sha256, UNKNOWN)


def _sources() -> dict[str, str]:
    try:
        record = json.loads(_record().read_bytes())
    except (OSError, ValueError):
        return {}
    return {str(data): str(name) for data, name in record.items()} if isinstance(record, dict) else {}


def _record() -> Path:
    return repository_root() / ".lifline" / "data_sources.json"
