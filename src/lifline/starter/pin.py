"""How pip gets this very lifline again."""

import json
import shutil
import subprocess
from collections.abc import Sequence
from importlib.metadata import Distribution
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

from lifline.errors import LiflineError

EXTRAS = "lifline[all]"


def pin(distribution: Distribution, checkout: Path | None) -> str:
    """The requirement of a lifline that is installed, or that runs from a checkout.

    An installed one is pinned to where it came from (PEP 610), a checkout to its commit.

    Raises:
        LiflineError: nothing tells where it came from, or the checkout has no commit.
    """
    if checkout is not None:
        return f"{EXTRAS} @ git+{_address(checkout)}@{_git(checkout, 'rev-parse', 'HEAD')}"
    origin: dict[str, Any] = json.loads(distribution.read_text("direct_url.json") or "{}")
    if "vcs_info" in origin:
        return f"{EXTRAS} @ {origin['vcs_info']['vcs']}+{origin['url']}@{origin['vcs_info']['commit_id']}"
    if "archive_info" in origin:
        sha256 = origin["archive_info"].get("hashes", {}).get("sha256")
        return f"{EXTRAS} @ {origin['url']}" + (f"#sha256={sha256}" if sha256 else "")
    if not origin:
        raise LiflineError(
            "nothing tells where lifline came from, which is to be pinned; allowed is a wheel's path or URL, or a clone"
        )
    return f"{EXTRAS} @ {origin['url']}"


def changed_files(checkout: Path, patterns: Sequence[str]) -> list[str]:
    """Which of some files are not as in the commit that is pinned."""
    lines = _git(checkout, "status", "--porcelain", "--no-renames", "--untracked-files=all", "--", *_globs(patterns))
    return [line.split(maxsplit=1)[1] for line in lines.splitlines()]


def extract_committed(checkout: Path, patterns: Sequence[str], folder: Path) -> None:
    """Write some files into a folder, as they are in the commit that is pinned."""
    with TemporaryDirectory() as aside:
        archive = Path(aside) / "committed.zip"
        _git(checkout, "archive", f"--output={archive}", "HEAD", "--", *_globs(patterns))
        shutil.unpack_archive(archive, folder)


def _globs(patterns: Sequence[str]) -> list[str]:
    """As git takes patterns in which a star stops at a folder."""
    return [f":(glob){pattern}" for pattern in patterns]


def _address(checkout: Path) -> str:
    """Where a checkout was cloned from, if over HTTPS, without a password; else the checkout itself."""
    origin = urlsplit(_git(checkout, "config", "--default", "", "remote.origin.url"))
    if origin.scheme != "https":
        return checkout.as_uri()
    return origin._replace(netloc=origin.netloc.rpartition("@")[2]).geturl()


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except subprocess.CalledProcessError as error:
        raise LiflineError(f"{folder} is no commit of git's, which is to be pinned: {error.stderr.strip()}") from None
