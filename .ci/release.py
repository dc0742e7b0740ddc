"""Make dist/ of the tagged commit: wheel, sdist, model, card and their SHA-256 sums; to the same bytes ever."""

import gzip
import hashlib
import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from tempfile import TemporaryDirectory

from ruamel.yaml import YAML

from lifline.command import run_command
from lifline.errors import LiflineError

ROOT = Path(__file__).parents[1]
DIST = ROOT / "dist"
MODELS = ("models/model.safetensors", "models/model.onnx", "models/model_card.md")
VERSION_TAG = r"v\d+\.\d+\.\d+((a|b|rc)\d+)?"
BUILD = "import sys; from setuptools import build_meta as b; _, to = sys.argv; b.build_wheel(to); b.build_sdist(to)"


def main() -> None:
    """Build in a copy of the commit, so that nothing that is not committed gets in."""
    version, models = tagged_version(), [checked(name) for name in MODELS]
    time = git("show", "--no-patch", "--format=%ct", "HEAD").decode().strip()
    os.umask(0o022)
    shutil.rmtree(DIST, ignore_errors=True)
    DIST.mkdir()
    with TemporaryDirectory() as copy:
        archive = git("archive", "HEAD")
        with tarfile.open(fileobj=io.BytesIO(archive)) as files:
            files.extractall(copy, filter="data")
        environment = os.environ | {"SOURCE_DATE_EPOCH": time, "SETUPTOOLS_SCM_PRETEND_VERSION": version}
        command = [sys.executable, "-c", BUILD, str(DIST)]
        subprocess.run(command, cwd=copy, env=environment, check=True, capture_output=True)
        shutil.copy(Path(copy, "requirements.lock"), DIST)
    for sdist in DIST.glob("*.tar.gz"):
        sdist.write_bytes(settled(sdist, int(time)))
    for path in models:
        shutil.copy(path, DIST)
    sums = "".join(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in sorted(DIST.iterdir()))
    (DIST / "SHA256SUMS").write_text(sums)
    print(sums, end="")


def tagged_version() -> str:
    """The version that HEAD is tagged as.

    Raises:
        LiflineError: it is tagged as none, or as several.
    """
    tags = git("tag", "--points-at", "HEAD").decode().split()
    versions = [tag.removeprefix("v") for tag in tags if re.fullmatch(VERSION_TAG, tag)]
    if len(versions) != 1:
        raise LiflineError(f"the commit's tags are {tags}; wanted is exactly one like v1.2.3")
    return versions[0]


def settled(sdist: Path, time: int) -> bytes:
    """An sdist without what tells when, where and by whom it was built."""
    content = io.BytesIO()
    with tarfile.open(sdist) as before, tarfile.open(fileobj=content, mode="w", format=tarfile.PAX_FORMAT) as after:
        for member in sorted(before.getmembers(), key=lambda each: each.name):
            member.mtime, member.uid, member.gid, member.uname, member.gname = time, 0, 0, "", ""
            member.pax_headers = {}
            after.addfile(member, before.extractfile(member) if member.isfile() else None)
    return gzip.compress(content.getvalue(), mtime=0)


def checked(name: str) -> Path:
    """An output of the pipeline, as the committed dvc.lock says.

    Raises:
        LiflineError: it is another file, or missing.
    """
    stages = YAML(typ="safe").load(git("show", "HEAD:dvc.lock").decode())["stages"].values()
    (md5,) = (out["md5"] for stage in stages for out in stage["outs"] if out["path"] == name)
    path = ROOT / name
    if not path.is_file() or hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest() != md5:
        raise LiflineError(f"{name} is not what dvc.lock says; `dvc pull` or `dvc repro` makes it so")
    return path


def git(*arguments: str) -> bytes:
    """What git prints."""
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, check=True).stdout  # noqa: S607


if __name__ == "__main__":
    run_command(main)
