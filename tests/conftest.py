import os
import runpy
import shutil
import signal
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import chdir, closing
from io import BytesIO
from pathlib import Path
from typing import Any

import mlflow
import pytest
import sqlalchemy
import torch
from hypothesis import settings
from matplotlib.figure import Figure
from mlflow.store.db import utils as mlflow_tables
from PIL import Image
from playwright.sync_api import sync_playwright

from lifline import cli
from lifline.data.datasets import Dataset, load_dataset, save_dataset
from lifline.data.images import LabelledImages
from lifline.download.obtain import obtain_dataset
from lifline.download.published import read_published
from lifline.errors import DataError
from lifline.models.model import Model, new_network, save_model
from lifline.params import NetworkParams, Params, read_params
from lifline.paths import DATA, MODEL
from lifline.presets import change_params, preset_values
from lifline.system.locks import locked
from lifline.system.signals import STOPPING
from lifline.training.health import Health
from tests.disks import disk
from tests.download.own_data import encode_idx
from tests.no_skips import pytest_addoption, pytest_make_collect_report, pytest_runtest_makereport  # noqa: F401
from tests.processes import ROOT, Process, clean_environment, none_left_behind, run_python, start_stage
from tests.quick_stores import quicken_stores

MNIST = read_published(ROOT / "data/mnist").info("mnist")

settings.register_profile("lifline", deadline=None)
settings.load_profile("lifline")


def pytest_configure():
    quicken_stores()


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: item.path.stem != "test_pipeline")  # what takes longest is begun first, by one process
    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="no CUDA device on this machine"))


@pytest.fixture(autouse=True)
def without_settings_of_others(monkeypatch):
    for name in set(os.environ) - set(clean_environment()):
        monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def signals_as_before():
    before = {number: signal.getsignal(number) for number in STOPPING}
    for number in STOPPING:
        if before[number] == signal.SIG_IGN:  # as a shell starts what runs in its background
            signal.signal(number, signal.default_int_handler)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(autouse=True)
def no_store_of_another_test():
    yield
    mlflow.set_tracking_uri(None)


@pytest.fixture(autouse=True)
def no_process_stays():
    with none_left_behind():
        yield


def once(folders: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """A file or folder that all processes of a test run share: `make(path)` makes it, under another name at first."""
    base = folders.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "once"
    path, unfinished = folder / name, folder / f"unfinished {name}"
    with locked(folder / f"{name}.lock"):
        if not path.exists():
            if unfinished.exists():
                shutil.rmtree(unfinished)
            make(unfinished)
            unfinished.rename(path)
    return path


@pytest.fixture(scope="session")
def mnist_file(tmp_path_factory) -> Path:
    """The real MNIST: the pipeline's, or else downloaded as the pipeline would."""
    path = ROOT / DATA
    try:
        if load_dataset(path).info == MNIST:
            return path
    except DataError:
        pass
    return once(tmp_path_factory, "mnist.safetensors", download_mnist)


def download_mnist(path: Path) -> None:
    with chdir(ROOT):
        obtain_dataset(read_params().with_values({"data.dataset": "mnist"}), path)


@pytest.fixture(scope="session")
def mnist(mnist_file) -> Dataset:
    return load_dataset(mnist_file)


@pytest.fixture(scope="session")
def training_images(mnist) -> LabelledImages:
    return mnist.train


@pytest.fixture(scope="session")
def test_images(mnist) -> LabelledImages:
    return mnist.test


@pytest.fixture(scope="session")
def idx_folder(tmp_path_factory, mnist) -> Path:
    """A folder with the first images of MNIST as somebody's own IDX files."""

    def make(folder: Path) -> None:
        folder.mkdir()
        for name, data in (("train", first(mnist.train, 6_000)), ("t10k", first(mnist.test, 1_000))):
            (folder / f"{name}-images-idx3-ubyte").write_bytes(as_idx(data.images.squeeze(1)))
            (folder / f"{name}-labels-idx1-ubyte").write_bytes(as_idx(data.labels))

    return once(tmp_path_factory, "idx", make)


def as_idx(values: torch.Tensor) -> bytes:
    """An IDX file of bytes."""
    return encode_idx(values.numpy())


@pytest.fixture(scope="session")
def few_images(tmp_path_factory, mnist) -> Path:
    """A data set of a few images of MNIST's, as the download stage would write it."""
    return once(
        tmp_path_factory,
        "few.safetensors",
        lambda path: save_dataset(MNIST, first(mnist.train, NUM_TRAIN), first(mnist.test, NUM_TEST), path),
    )


def first(data: LabelledImages, count: int) -> LabelledImages:
    return LabelledImages(data.images[:count], data.labels[:count])


@pytest.fixture(scope="session")
def params(tmp_path_factory) -> Params:
    """The tutorial's recipe."""
    folder = tmp_path_factory.mktemp("params")
    write_tutorial_params(folder)
    return read_params(folder / "params.yaml")


def changed(params: Params, **sections: dict) -> Params:
    """The params with some values replaced: `changed(params, network={"layers": "10"})`."""
    values = params.model_dump()
    for section, new in sections.items():
        values[section] |= new
    return Params.model_validate(values)


NUM_TRAIN, NUM_TEST = 1_500, 500
SMALL = {"network.layers": "20", "network.num_steps": 4, "data.validation_size": 500}


def write_tutorial_params(folder: Path, values: Mapping[str, Any] | None = None) -> None:
    """Write a params.yaml with the tutorial's recipe, some values replaced."""
    shutil.copy(ROOT / "params.yaml", folder)
    shutil.copytree(ROOT / "presets", folder / "presets", dirs_exist_ok=True)
    with chdir(folder):
        change_params(preset_values("tutorial") | dict(values or {}))


HEALTHY = Health(
    silent={"hidden_1": 0.1, "output": 0.0},
    saturated={"hidden_1": 0.01, "output": 0.0},
    silent_outputs=0.0,
    ties=0.05,
    gradient_norm={"hidden_1": 0.2, "output": 0.1},
    gradient_passed={"hidden_1": 0.2, "output": 0.1},
    update_ratio={"hidden_1": 0.01, "output": 0.005},
)
"""Of a network with a hidden layer that learns."""


def blank(_figure: Figure) -> bytes:
    """A PNG in place of a figure's, whose drawing takes longer than a training."""
    picture = BytesIO()
    Image.new("L", (1, 1)).save(picture, format="png")
    return picture.getvalue()


@pytest.fixture
def workspace(tmp_path, few_images, monkeypatch) -> Path:
    """A working directory for stages: params for a small and quick network, a few images; figures are left blank."""
    monkeypatch.setattr("lifline.figures.style.as_png", blank)
    write_tutorial_params(tmp_path, SMALL)
    shutil.copy(ROOT / "dvc.yaml", tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / DATA).symlink_to(few_images)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def new_store(tmp_path_factory) -> Path:
    """A store of MLflow with its tables, which take it a second to make."""
    return once(tmp_path_factory, "mlflow.db", lambda path: mlflow.MlflowClient(f"sqlite:///{path}"))


@pytest.fixture
def store(workspace, new_store) -> mlflow.MlflowClient:
    """A client of the workspace's own store."""
    return mlflow.MlflowClient(f"sqlite:///{shutil.copy(new_store, workspace)}")


@pytest.fixture(scope="session")
def tables(tmp_path_factory) -> Path:
    """MLflow's tables, without anything in them."""

    def make(path: Path) -> None:
        engine = sqlalchemy.create_engine(f"sqlite:///{path}")
        mlflow_tables._initialize_tables(engine)
        engine.dispose()

    return once(tmp_path_factory, "tables.db", make)


@pytest.fixture
def ready_tables(tables, monkeypatch):
    """Let MLflow copy its tables where it would make them."""

    def copy(engine: sqlalchemy.Engine) -> None:
        with closing(sqlite3.connect(tables)) as source:
            source.backup(engine.raw_connection().driver_connection)

    monkeypatch.setattr(mlflow_tables, "_initialize_tables", copy)


@pytest.fixture
def lifline(ready_tables, monkeypatch, capfd):
    """Run `lifline` in this process; returns (exit code, stdout, stderr)."""

    def run(*arguments: str) -> tuple[int, str, str]:
        capfd.readouterr()
        monkeypatch.setattr("sys.argv", ["lifline", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return ended.value.code, *capfd.readouterr()

    return run


@pytest.fixture(scope="session")
def browser():
    """Headless Chromium: Debian's, or another that is on the PATH."""
    executable = shutil.which("chromium") or shutil.which("google-chrome")
    if executable is None:
        pytest.skip("no Chromium on this machine; Debian's package is chromium")
    arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=arguments)
        yield browser
        browser.close()


@pytest.fixture
def stage(ready_tables, monkeypatch, capfd):
    """Run a stage script as `python pipeline/NAME.py` would, in this process; returns (exit code, stderr)."""

    def run(name: str) -> tuple[int, str]:
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(ROOT / "pipeline" / f"{name}.py"), run_name="__main__")
        return ended.value.code, capfd.readouterr().err

    return run


@pytest.fixture(scope="session")
def disks(tmp_path_factory):
    """What needs this can give a process a disk of its own."""
    if run_python("", before=disk(str(tmp_path_factory.mktemp("disk")))).returncode != 0:
        pytest.skip("a disk of its own cannot be mounted for a process here")


def untrained(params: NetworkParams, seed: int = 0) -> Model:
    """A model of these params, with the weights that a seed draws."""
    return Model(new_network(params, MNIST, seed), params, MNIST)


def save_untrained(seed: int = 0) -> None:
    """Write a model as the training stage would, for the params in the working directory."""
    params = read_params()
    save_model(untrained(params.network, seed), MODEL)


def stage_process(name: str, folder: Path) -> Process:
    """Start a stage script as its own process group."""
    return start_stage(name, folder)


def assert_one_line_error(outcome: tuple[int, str], *parts: str) -> None:
    code, stderr = outcome
    assert code == 2
    assert stderr.count("\n") == 1, stderr
    assert stderr.startswith("error: ")
    for part in parts:
        assert part in stderr
