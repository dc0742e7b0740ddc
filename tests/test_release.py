"""A release is made of a tagged commit alone, and to the same bytes ever."""

import hashlib
import os
import re
import subprocess
import sys

import pytest

from tests.conftest import ROOT
from tests.git import git
from tests.processes import clean_environment

pytestmark = pytest.mark.slow

VERSION = "7.8.9"
MODELS = {"models/model.safetensors": b"weights", "models/model.onnx": b"graph", "models/model_card.md": b"# Card"}


@pytest.fixture
def checkout(tmp_path):
    """A clone of what git knows, whose dvc.lock names two small files as the models."""
    folder = tmp_path / "checkout"
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\0")
    for name in (name for name in names if (ROOT / name).is_file()):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes((ROOT / name).read_bytes())
    lock = (folder / "dvc.lock").read_text()
    for name, content in MODELS.items():
        (folder / name).write_bytes(content)
        md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
        lock = re.sub(rf"(- path: {name}\n *hash: md5\n *md5: )\w+", rf"\g<1>{md5}", lock)
    (folder / "dvc.lock").write_text(lock)
    git(folder, "init", "--quiet")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "All")
    return folder


def version(folder):
    command = [sys.executable, "-m", "setuptools_scm"]
    done = subprocess.run(command, cwd=folder, env=clean_environment(), capture_output=True, text=True, check=True)
    return done.stdout.strip()


def release(folder, umask=0o022):
    environment = clean_environment() | {"PYTHONPATH": str(ROOT / "src")}
    command = [sys.executable, str(folder / ".ci/release.py")]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, umask=umask)


def contents(folder):
    return {path.name: path.read_bytes() for path in (folder / "dist").iterdir()}


def test_two_builds_give_equal_bytes_whose_sums_are_told(checkout):
    git(checkout, "tag", f"v{VERSION}")
    assert release(checkout).returncode == 0
    first = contents(checkout)
    assert first.keys() == {
        f"lifline-{VERSION}-py3-none-any.whl", f"lifline-{VERSION}.tar.gz", "model.safetensors", "model.onnx",
        "model_card.md", "requirements.lock", "SHA256SUMS",
    }  # fmt: skip
    subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=checkout / "dist", check=True)
    for path in checkout.rglob("*.py"):
        os.utime(path, (0, 0))
    (checkout / "src/lifline/uncommitted.py").touch()
    assert release(checkout, umask=0o077).returncode == 0
    assert contents(checkout) == first


def test_what_is_not_tagged_or_not_the_committed_model_is_refused(checkout):
    refused = release(checkout)
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "the commit's tags are []; wanted is exactly one like v1.2.3" in refused.stderr
    for tag in ("data", f"v{VERSION}", "v8.0.0"):
        git(checkout, "tag", tag)
    refused = release(checkout)
    assert f"the commit's tags are ['data', 'v{VERSION}', 'v8.0.0']; wanted is exactly one" in refused.stderr
    git(checkout, "tag", "--delete", "v8.0.0")
    for name, content in MODELS.items():
        (checkout / name).write_bytes(b"another")
        refused = release(checkout)
        assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
        assert f"{name} is not what dvc.lock says" in refused.stderr
        (checkout / name).write_bytes(content)
    assert not list((checkout / "dist").glob("*"))


def test_the_version_is_of_the_last_tag(checkout):
    git(checkout, "tag", f"v{VERSION}")
    assert version(checkout) == VERSION
    git(checkout, "commit", "--quiet", "--allow-empty", "--message", "More")
    git(checkout, "tag", "paper-2026")
    assert version(checkout).startswith("7.8.10.dev1+g")
