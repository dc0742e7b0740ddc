"""What `make install` would do."""

import re
import subprocess

from tests.conftest import ROOT

LOCK = (ROOT / "requirements.lock").read_text()


def commands(*arguments):
    command = ["make", "--dry-run", "--assume-new=requirements.lock", "install", *arguments]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()


def names(lock):
    return set(re.findall(r"(?m)^([a-z0-9-]+)==", lock))


def test_it_says_first_what_it_takes_and_checks_every_hash():
    told, *_ = (line for line in commands() if line.startswith("echo"))
    assert "3.5 GB" in told
    installing = [line for line in commands() if line.startswith("pip install") and "--editable" not in line]
    assert installing == ["pip install --require-hashes -r requirements.lock"]


def test_without_cuda_all_but_pytorch_is_the_locks_with_its_hashes():
    index = "https://example.org/cpu"
    filtering, others, pytorch = [
        line for line in commands(f"TORCH_INDEX={index}") if re.match("awk|pip", line) and "--editable" not in line
    ]
    command, _, file = filtering.partition(" > ")
    kept = subprocess.run(["sh", "-c", command], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert others == f"pip install --require-hashes -r {file}"
    gone = names(LOCK) - names(kept)
    assert {"torch", "torchvision", "triton", "nvidia-cublas", "cuda-bindings"} <= gone
    assert not {name for name in gone if not re.match(r"torch(vision)?$|triton$|nvidia-|cuda-", name)}
    blocks = re.split(r"(?m)^(?=[a-z])", LOCK)
    assert kept == "".join(block for block in blocks if names(block) - gone)
    versions = re.findall(r"(?m)^torch(?:vision)?==[\d.]+", LOCK)
    assert pytorch == f"pip install --no-deps --index-url {index} {' '.join(versions)}"
