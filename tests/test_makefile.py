"""What `make install`, and what installs more, would do."""

import re
import subprocess

import pytest

from tests.conftest import ROOT
from tests.git import git

INDEX = "https://example.org/cpu"


def commands(target, *arguments):
    locks = [f"--assume-new={lock.name}" for lock in ROOT.glob("requirements*.lock")]
    command = ["make", "--no-print-directory", "--dry-run", *locks, target, *arguments]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()


def installing(lines):
    return [line for line in lines if line.startswith("pip install") and "--editable" not in line]


def names(lock):
    return set(re.findall(r"(?m)^([a-z0-9-]+)==", lock))


def test_it_says_first_what_it_takes_and_checks_every_hash():
    told, *_ = (line for line in commands("install") if line.startswith("echo"))
    assert "3.5 GB" in told
    assert installing(commands("install")) == ["pip install --require-hashes -r requirements.lock"]


@pytest.mark.parametrize("target", ["bench", "docs", "docs-serve"])
def test_what_takes_more_packages_checks_every_hash(target):
    lock = f"requirements-{target.removesuffix('-serve')}.lock"
    assert installing(commands(target))[1:] == [f"pip install --quiet --require-hashes -r {lock}"]


def test_without_cuda_pytorch_comes_first_in_the_locks_versions():
    """Before what needs it: pip would ask for a hash of the PyTorch that it finds itself."""
    versions = re.findall(r"(?m)^torch(?:vision|audio)?==[\d.]+", (ROOT / "requirements.lock").read_text())
    first, *others = installing(commands("install", f"TORCH_INDEX={INDEX}"))
    assert first == f"pip install --no-deps --index-url {INDEX} {' '.join(versions)}"
    assert len(others) == 1


@pytest.mark.parametrize("lock", [path.name for path in sorted(ROOT.glob("requirements*.lock"))])
def test_without_cuda_all_but_pytorch_is_the_locks_with_its_hashes(lock):
    target = lock.removesuffix(".lock").removeprefix("requirements").strip("-") or "install"
    lines = commands(target, f"TORCH_INDEX={INDEX}")
    (command, file), *_ = (line.split(" > ") for line in lines if line.startswith("awk") and f" {lock} > " in line)
    kept = subprocess.run(["sh", "-c", command], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    (last,) = (line for line in lines if line.endswith(f" -r {file}"))
    assert installing(lines)[-1] == last
    assert "--require-hashes" in last
    text = (ROOT / lock).read_text()
    gone = names(text) - names(kept)
    assert {"torch", "torchvision", "triton", "nvidia-cublas", "cuda-bindings"} <= gone
    assert not {name for name in gone if not re.match(r"torch(vision|audio)?$|triton$|nvidia-|cuda-", name)}
    blocks = re.split(r"(?m)^(?=[a-z])", text)
    assert kept == "".join(block for block in blocks if names(block) - gone)


@pytest.fixture
def told_by_repro(tmp_path):
    """What `make repro` says at its end of dvc.lock, in a folder."""
    script = "".join("\n".join(commands("repro")).partition("git cat-file")[1:])

    def tell():
        return subprocess.run(["sh", "-c", script], cwd=tmp_path, check=True, capture_output=True, text=True).stdout

    return tell


def test_repro_tells_whether_the_result_is_the_committed_one(tmp_path, told_by_repro):
    (tmp_path / "dvc.lock").write_text("md5: 1\n")
    assert told_by_repro() == ""  # outside git
    git(tmp_path, "init", "--quiet")
    assert told_by_repro() == ""  # in no commit
    git(tmp_path, "add", "dvc.lock")
    git(tmp_path, "commit", "--quiet", "--message", "First")
    assert told_by_repro() == "dvc.lock is as committed, and so is every file that it names, to the byte\n"
    (tmp_path / "dvc.lock").write_text("md5: 2\n")
    assert told_by_repro().startswith("dvc.lock has changed: ")
