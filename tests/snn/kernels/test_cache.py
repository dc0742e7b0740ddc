import ast
import json
import os
import resource
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
from numba import njit

from lifline.snn.kernels import cache
from lifline.snn.kernels.cache import KEPT_FOLDERS, SOURCES, KernelCache, cache_folder
from tests.conftest import ROOT, clean_environment

HOLD_NOTHING_COMPILED = {"lifline.choices", "lifline.snn.kernels.cache", "lifline.system.signals"}


@pytest.fixture
def users(tmp_path, monkeypatch) -> Path:
    """The user's folder for caches, and a package `snn` of one's own."""
    users, package = tmp_path / "users", tmp_path / "snn"
    monkeypatch.setenv("XDG_CACHE_HOME", str(users))
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    shutil.copytree(cache.PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(cache, "PACKAGE", package)
    cache_folder.cache_clear()
    yield users
    cache_folder.cache_clear()


def folder_now() -> Path | None:
    """The folder as another process would find it."""
    cache_folder.cache_clear()
    return cache_folder()


def double(value):
    return 2 * value


def loads(folder: Path, *values) -> int:
    """Call a function in a new process, so to say; returns for how many types it was loaded, not compiled."""
    dispatcher = njit(double)
    dispatcher._cache = KernelCache("double", folder)
    for value in values:
        assert dispatcher(value) == 2 * value
    return sum(dispatcher.stats.cache_hits.values())


def test_what_one_process_compiles_the_next_loads(tmp_path):
    assert loads(tmp_path, 1) == 0
    assert loads(tmp_path, 1) == 1


def test_processes_that_compile_for_different_types_keep_each_others(tmp_path):
    assert loads(tmp_path, 1) == loads(tmp_path, 1.5) == 0
    assert loads(tmp_path, 1, 1.5) == 2
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("damage", [lambda content: content[:-1], lambda content: b"", "flip"])
def test_what_is_damaged_is_compiled_anew(tmp_path, damage):
    def flip(content):
        middle = len(content) // 2
        return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]

    loads(tmp_path, 1)
    (file,) = tmp_path.iterdir()
    file.write_bytes((flip if damage == "flip" else damage)(file.read_bytes()))
    assert loads(tmp_path, 1) == 0
    assert loads(tmp_path, 1) == 1


@contextmanager
def no_room(_folder):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@contextmanager
def no_folder(folder):
    folder.rmdir()
    yield
    folder.mkdir()


@pytest.mark.parametrize("trouble", [no_room, no_folder])
def test_what_cannot_be_kept_is_compiled_all_the_same(tmp_path, trouble):
    with trouble(tmp_path):
        assert loads(tmp_path, 1) == 0
    assert list(tmp_path.iterdir()) == []


def test_the_folder_is_the_users_alone(users):
    folder = folder_now()
    assert folder.parent == users / "lifline/kernels"
    assert folder.parent.stat().st_mode & 0o777 == folder.stat().st_mode & 0o777 == 0o700


def test_numbas_own_setting_comes_first(users, tmp_path, monkeypatch):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "numba"))
    assert folder_now().parent == tmp_path / "numba/lifline/kernels"
    assert not users.exists()


def test_a_relative_path_is_no_place_for_caches(users, tmp_path, monkeypatch):
    """By the XDG Base Directory Specification."""
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert folder_now().parent == tmp_path / "home/.cache/lifline/kernels"


def test_the_folder_is_named_by_what_decides_the_compiled_code(users, monkeypatch):
    folder = folder_now()
    assert folder_now() == folder
    network = cache.PACKAGE / "network.py"
    network.write_text(network.read_text() + "# as before\n")
    assert folder_now() == folder
    surrogate = cache.PACKAGE / "surrogate.py"
    surrogate.write_text(surrogate.read_text().replace("SLOPE = 25.0", "SLOPE = 10.0"))
    edited = folder_now()
    assert edited != folder
    monkeypatch.setattr(cache, "VERSIONS", ("another",))
    assert folder_now() not in (edited, folder)


def test_all_that_compiled_code_takes_from_lifline_is_among_its_sources():
    modules = {f"lifline.snn.{source.removesuffix('.py').replace('/', '.')}" for source in SOURCES}
    for source in SOURCES:
        for node in ast.walk(ast.parse((cache.PACKAGE / source).read_text())):
            if isinstance(node, ast.ImportFrom) and node.module.startswith("lifline"):
                assert node.module in modules | HOLD_NOTHING_COMPILED, f"{source} imports {node.module}"


def test_a_folder_that_others_may_write_to_is_not_loaded_from(users):
    place = folder_now().parent
    place.chmod(0o770)
    assert folder_now().parent == cache.PACKAGE / "kernels/__pycache__/kernels"


def test_a_folder_of_another_user_is_not_loaded_from(users, monkeypatch):
    folder_now()
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    assert folder_now() is None


def test_without_a_place_for_it_there_is_no_folder(users):
    users.write_text("a file")
    shutil.rmtree(cache.PACKAGE / "kernels/__pycache__", ignore_errors=True)
    (cache.PACKAGE / "kernels/__pycache__").write_text("a file")
    assert folder_now() is None


def test_folders_unused_for_the_longest_time_go(users):
    place = folder_now().parent
    for age in range(1, KEPT_FOLDERS + 5):
        (place / str(age)).mkdir()
        os.utime(place / str(age), (0, 1e9 - age))
    own = folder_now()
    assert {path.name for path in place.iterdir()} == {own.name, *map(str, range(1, KEPT_FOLDERS + 1))}


PROGRAM = """
import json, torch
from lifline.snn import lif
from lifline.snn.kernels import cpu, threads
prepared_at_import = threads._offer_openmp_to_compiled_code.cache_info().currsize
spikes, _ = lif(torch.ones(1, 3), 0.9, num_steps=4)
print(json.dumps([prepared_at_import, spikes.sum().item(), sum(cpu._lif_forward.stats.cache_hits.values())]))
"""


@pytest.mark.slow
def test_a_copy_of_the_sources_loads_what_was_compiled_and_an_edited_one_compiles(tmp_path):
    sources = {name: tmp_path / name / "src" for name in ("clone", "copy", "edited")}
    for source in sources.values():
        shutil.copytree(ROOT / "src", source, ignore=shutil.ignore_patterns("__pycache__"))
    surrogate = sources["edited"] / "lifline/snn/surrogate.py"
    surrogate.write_text(surrogate.read_text().replace("SLOPE = 25.0", "SLOPE = 10.0"))

    def start(name):
        environment = {**clean_environment(), "PYTHONPATH": sources[name], "XDG_CACHE_HOME": tmp_path / "cache"}
        environment.pop("NUMBA_CACHE_DIR", None)
        return subprocess.Popen([sys.executable, "-c", PROGRAM], env=environment, stdout=subprocess.PIPE, text=True)

    def outcomes(*names):
        return [json.loads(process.communicate()[0]) for process in list(map(start, names))]

    assert outcomes("clone", "clone") == [[0, 9.0, 0]] * 2  # side by side
    assert outcomes("copy", "edited") == [[0, 9.0, 1], [0, 9.0, 0]]
