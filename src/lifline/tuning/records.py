"""The lines of Optuna's journal: whether each is a record that follows from those above it."""

import json
import zlib
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

from optuna.storages.journal._storage import JournalStorageReplayResult
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

CHECKSUM = "crc32"
"""What lifline adds to each record that it writes: the CRC-32 of all that is above it, and of the rest of its line."""


class _Record(BaseModel):
    """The fields that Optuna writes, by operation; others are let pass."""

    model_config = ConfigDict(strict=True)

    worker_id: str
    crc32: int | None = None


class _OfStudy(_Record):
    study_id: int


class _OfTrial(_Record):
    trial_id: int


class _CreateStudy(_Record):
    op_code: Literal[0]
    study_name: str
    directions: list[int]


class _DeleteStudy(_OfStudy):
    op_code: Literal[1]


class _SetStudyUserAttr(_OfStudy):
    op_code: Literal[2]
    user_attr: dict[str, Any]


class _SetStudySystemAttr(_OfStudy):
    op_code: Literal[3]
    system_attr: dict[str, Any]


class _CreateTrial(_OfStudy):
    op_code: Literal[4]
    datetime_start: str | None
    datetime_complete: str | None = None
    state: int | None = None
    value: float | None = None
    values: list[float] | None = None
    params: dict[str, float] | None = None
    distributions: dict[str, str] | None = None
    intermediate_values: dict[str, float] | None = None
    user_attrs: dict[str, Any] | None = None
    system_attrs: dict[str, Any] | None = None


class _SetTrialParam(_OfTrial):
    op_code: Literal[5]
    param_name: str
    param_value_internal: float
    distribution: str


class _SetTrialStateValues(_OfTrial):
    op_code: Literal[6]
    state: int
    values: list[float] | None
    datetime_start: str | None = None
    datetime_complete: str | None = None


class _SetTrialIntermediateValue(_OfTrial):
    op_code: Literal[7]
    step: int
    intermediate_value: float


class _SetTrialUserAttr(_OfTrial):
    op_code: Literal[8]
    user_attr: dict[str, Any]


class _SetTrialSystemAttr(_OfTrial):
    op_code: Literal[9]
    system_attr: dict[str, Any]


class _DiscardTrials(_Record):
    op_code: Literal[10]


_RECORD: TypeAdapter[_Record] = TypeAdapter(
    Annotated[
        _CreateStudy
        | _DeleteStudy
        | _SetStudyUserAttr
        | _SetStudySystemAttr
        | _CreateTrial
        | _SetTrialParam
        | _SetTrialStateValues
        | _SetTrialIntermediateValue
        | _SetTrialUserAttr
        | _SetTrialSystemAttr
        | _DiscardTrials,
        Field(discriminator="op_code"),
    ]
)


class CheckedLines:
    """The lines of a journal from its first on, as far as they were checked."""

    def __init__(self) -> None:
        self.num_lines = 0
        self.num_bytes = 0
        self.checksum = 0
        self.dated: set[int] = set()
        """Hashes of the lines with a time, of which no two are the same."""

        self.replayed = JournalStorageReplayResult(worker_id_prefix="")

    def check(self, line: bytes) -> None:
        """Check the next line.

        Raises:
            ValueError: it is no record, or does not follow from the lines above it; the message is a predicate.
        """
        record = _read(line)
        self._check_place(line, record)
        self._replay(record)
        self.num_lines += 1
        self.num_bytes += len(line)
        self.checksum = zlib.crc32(line, self.checksum)

    def next_lines(self, records: Iterable[Mapping[str, Any]]) -> bytes:
        """These records as the lines that follow, with their checksums."""
        lines, checksum = b"", self.checksum
        for record in records:
            content = json.dumps(record, separators=(",", ":")).encode()[:-1]
            line = b'%b,"%b":%d}\n' % (content, CHECKSUM.encode(), zlib.crc32(content, checksum))
            checksum = zlib.crc32(line, checksum)
            lines += line
        return lines

    def _check_place(self, line: bytes, record: Mapping[str, Any]) -> None:
        if CHECKSUM in record:
            content = line[: line.rindex(b',"%b":' % CHECKSUM.encode())]
            if zlib.crc32(content, self.checksum) != record[CHECKSUM]:
                raise ValueError("is not what was written after the line above it")
        if record.get("datetime_start") or record.get("datetime_complete"):
            if hash(line) in self.dated:
                raise ValueError("repeats one above it")
            self.dated.add(hash(line))

    def _replay(self, record: dict[str, Any]) -> None:
        for kind, known in (("trial", self.replayed._trials), ("study", self.replayed._study_id_to_trial_ids)):
            number = record.get(f"{kind}_id")
            if number is not None and number not in known:  # which Optuna passes over
                raise ValueError(f"is about {kind} {number}, which no line above it makes")
        try:
            self.replayed.apply_logs([record])
            if "state" in record and self.replayed._trials:
                trial_id = record.get("trial_id", max(self.replayed._trials))
                self.replayed._trials[trial_id]._validate()
        except Exception as error:  # whatever it is that Optuna stumbles on
            raise ValueError(f"cannot be replayed: {type(error).__name__}") from error


def _read(line: bytes) -> dict[str, Any]:
    try:
        record: _Record = _RECORD.validate_json(line)
    except ValidationError as error:
        kind = error.errors(include_input=False, include_url=False)[0]["type"]
        raise ValueError("is not JSON" if kind == "json_invalid" else "is no record of Optuna's") from None
    return record.model_dump(exclude_unset=True)
