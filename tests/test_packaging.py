"""The package as others install it: a wheel and an sdist, whose `lifline.snn` needs few libraries."""

import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections import Counter
from email import message_from_string
from importlib.metadata import distribution, packages_distributions
from pathlib import Path

import pytest

from lifline.command import EXTRA_OF
from lifline.starter.repository import repository_files
from tests.conftest import ROOT
from tests.processes import clean_environment

BUILD = "import sys; from setuptools import build_meta as b; _, to = sys.argv; b.build_wheel(to); b.build_sdist(to)"
BASE = {"torch", "numpy", "numba"}

ONLY = """
import sys
from importlib.machinery import PathFinder
BLOCKED, find = set(sys.argv.pop(1).split(",")), PathFinder.find_spec
PathFinder.find_spec = lambda name, *others: None if name in BLOCKED else find(name, *others)
"""

TRAIN = """
import torch
from lifline.snn import Lif, SpikingNetwork, decode, lif
network = SpikingNetwork.from_layers(
    "4C3-MP2-20", input_shape=(1, 12, 12), num_classes=3, neuron=Lif(beta=0.5), num_steps=4
)
record = network(torch.rand(8, 1, 12, 12))
record.membrane.sum().backward()
print(decode(record, "rate").shape, *sorted({name.split(".")[0] for name in sys.modules} & BLOCKED))
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """A folder with a wheel and an sdist of what git knows."""
    folder = tmp_path_factory.mktemp("built")
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    files = subprocess.run(listed, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\0")
    for name in (name for name in files if (ROOT / name).is_file()):
        copy = folder / "source" / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes((ROOT / name).read_bytes())
    run(sys.executable, "-c", BUILD, str(folder), cwd=folder / "source")
    return folder


def run(*command, **options) -> str:
    environment = {"PYTHONPATH": "", "OMP_NUM_THREADS": "1", "PIP_CONFIG_FILE": os.devnull} | options.pop("env", {})
    done = subprocess.run(
        command, env=clean_environment() | environment, capture_output=True, text=True, check=False, **options
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def installed(file: Path, folder: Path) -> Path:
    offline = ["--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--no-warn-script-location"]
    run(sys.executable, "-m", "pip", "install", *offline, "--target", str(folder), str(file))
    return folder


def required(extra: str) -> set[str]:
    """The distributions that lifline needs, and those of an extra."""
    ours = [
        line for line in distribution("lifline").requires if "extra ==" not in line or f'extra == "{extra}"' in line
    ]
    return {re.match(r"[\w.-]+", line)[0] for line in ours}


def beyond(distributions: set[str]) -> set[str]:
    """The modules of this environment that some distributions do not bring, nor what they need."""
    needed, to_read = set(), list(distributions)
    while to_read:
        name = canonical(to_read.pop())
        if name not in needed:
            needed.add(name)
            requirements = [line for line in distribution(name).requires or [] if "extra ==" not in line]
            to_read += [match for line in requirements if is_here(match := re.match(r"[\w.-]+", line)[0])]
    brought = packages_distributions()
    mine = needed | {"lifline", "setuptools"}
    return {module for module, names in brought.items() if not mine & set(map(canonical, names))}


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def is_here(name: str) -> bool:
    try:
        return bool(distribution(name))
    except ModuleNotFoundError:
        return False


def with_base_only(folder: Path, program: str, *arguments: str, extra="", **options) -> subprocess.CompletedProcess:
    """Run a program where the package's base dependencies alone are installed, and those of an extra."""
    command = [sys.executable, "-c", ONLY + program, ",".join(beyond(required(extra))), *arguments]
    environment = clean_environment() | {"PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, **options)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["*.whl", "*.tar.gz"])
def test_the_neuron_trains_with_the_base_dependencies_alone(built, tmp_path, kind):
    (file,) = built.glob(kind)
    done = with_base_only(installed(file, tmp_path / "installed"), TRAIN, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "torch.Size([8])\n"  # none of what is blocked was loaded
    assert (tmp_path / "installed/lifline/py.typed").is_file()


@pytest.mark.slow
def test_metadata_has_few_dependencies_and_extras(built):
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as files:
        (name,) = (name for name in files.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = message_from_string(files.read(name).decode())
    base = {re.match(r"[\w.]+", line)[0] for line in metadata.get_all("Requires-Dist") if "extra ==" not in line}
    assert base == BASE
    assert set(metadata.get_all("Provides-Extra")) == {"pipeline", "tuning", "serving", "all"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("part", "present", "missing", "extra"),
    [
        ("models.model", "", "pydantic", "all"),
        ("serving.server", "", "uvicorn", "serving"),
        ("tracking.runs", "serving", "mlflow", "pipeline"),
        ("tuning.study", "pipeline", "optuna", "tuning"),
    ],
)
def test_a_part_without_its_extra_says_what_is_missing(built, tmp_path, part, present, missing, extra):
    (wheel,) = built.glob("*.whl")
    folder = installed(wheel, tmp_path / "installed")
    plain = with_base_only(folder, f"import lifline.{part}", extra=present)
    assert plain.stderr.splitlines()[-1] == f"ModuleNotFoundError: No module named '{missing}'"
    command = "import importlib, lifline.command as c; c.run_command(lambda: importlib.import_module(sys.argv[1]))"
    done = with_base_only(folder, command, f"lifline.{part}", extra=present)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert f"{missing} is not installed; pip install '.[{extra}]'" in done.stderr


def test_each_library_that_one_extra_alone_brings_is_known():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    bringing = [(re.match(r"\w+", line)[0], extra) for extra, lines in extras.items() for line in lines]
    times = Counter(module for module, _ in bringing)
    assert {module: extra for module, extra in bringing if times[module] == 1} == EXTRA_OF


@pytest.mark.slow
def test_a_command_without_its_extra_says_so_in_a_line(built, tmp_path):
    (wheel,) = built.glob("*.whl")
    done = with_base_only(installed(wheel, tmp_path / "installed"), "from lifline.cli import main; main()", "versions")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "pip install '.[all]'" in done.stderr


@pytest.mark.slow
def test_the_extra_of_pages_is_enough_to_make_them(built, tmp_path):
    (wheel,) = built.glob("*.whl")
    program = "import lifline.cli.models, lifline.serving.static_page; print(sorted(sys.modules.keys() & BLOCKED))"
    done = with_base_only(installed(wheel, tmp_path / "installed"), program, extra="serving")
    assert (done.returncode, done.stdout, done.stderr) == (0, "[]\n", "")


@pytest.mark.slow
def test_an_installed_wheel_starts_a_repository(built, tmp_path):
    (wheel,) = built.glob("*.whl")
    folder = installed(wheel, tmp_path / "installed")
    program = "from lifline.cli import main; main()"
    run(sys.executable, "-c", program, "init", "mine", cwd=tmp_path, env={"PYTHONPATH": str(folder)})
    assert (tmp_path / "mine/pipeline/train.py").read_text() == (ROOT / "pipeline/train.py").read_text()
    requirement = (tmp_path / "mine/requirements.txt").read_text().splitlines()[1]
    assert requirement.startswith(f"lifline[all] @ {wheel.as_uri()}")


@pytest.mark.slow
def test_the_sdist_has_what_the_wheel_is_built_of(built):
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as files:
        names = {name.partition("/")[2] for name in files.getnames()}
    assert {"setup.py", "LICENSE", "params.yaml", "pipeline/train.py", "presets/fast.yaml", ".dvc/config"} <= names
    assert {path.relative_to(ROOT).as_posix() for path in repository_files(ROOT)} <= names
