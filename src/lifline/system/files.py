"""How files are written: whole or not at all."""

import csv
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lifline.system.locks import locked


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Make an `OSError` of the body name `path`: a full disk shows only in write(), which knows no name."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`, which replaces it if the body succeeds and vanishes otherwise.

    Of several who replace one file at once, each waits for the one before; what a killed one left is used again.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    with naming(path), locked(temporary):
        try:
            os.truncate(temporary, 0)
            yield temporary
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def write_bytes(path: Path, content: bytes) -> None:
    """Write bytes."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write `content` as indented JSON."""
    write_bytes(path, (json.dumps(content, indent=2) + "\n").encode())


def write_csv(path: Path, header: list[str], rows: Iterable[Iterable[Any]]) -> None:
    """Write a table with a header line."""
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def sha256_of_bytes(content: bytes) -> str:
    """The SHA-256 of bytes, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
