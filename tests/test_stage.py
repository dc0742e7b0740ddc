"""`python -m lifline.stage`, as dvc.yaml calls it."""

import os
import shutil
import signal
import subprocess
import sys

import pytest

from tests.conftest import ROOT
from tests.git import change_unseen_by_git, git
from tests.processes import clean_environment

INTERRUPTED_WHEN_IMPORTING = """
import os, runpy, signal, sys
from importlib.abc import MetaPathFinder
class Interrupting(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name == os.environ["LIBRARY"]:
            sys.meta_path.remove(self)
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupting())
runpy.run_module("lifline.stage", run_name="__main__")
"""


def run(*arguments, folder=ROOT, **environment):
    environment = clean_environment() | {"PYTHONPATH": str(ROOT / "src")} | environment
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("library", ["lifline.data.datasets", "torch"])
def test_an_interruption_while_libraries_are_loaded_is_one_line(library):
    done = run("-c", INTERRUPTED_WHEN_IMPORTING, "train", LIBRARY=library)
    assert (done.returncode, done.stdout) == (128 + signal.SIGINT, "")
    assert done.stderr == "error: interrupted; the same command goes on\n"


def test_a_script_imports_what_lies_beside_it_and_nothing_from_the_folder_it_runs_in(tmp_path):
    (tmp_path / "pipeline").mkdir()
    (tmp_path / "pipeline/mine.py").write_text("import helper, queue\nprint(helper.WORD, __name__)\n")
    (tmp_path / "pipeline/helper.py").write_text("WORD = 'beside'\n")
    (tmp_path / "queue.py").write_text("raise RuntimeError\n")
    done = run("-m", "lifline.stage", "mine", folder=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "beside __main__\n", "")


@pytest.mark.parametrize(("arguments", "named"), [([], ""), (["trian"], "trian"), (["train", "now"], "train now")])
def test_a_stage_that_is_not_there_is_named(arguments, named):
    done = run("-m", "lifline.stage", *arguments)
    expected = f"error: stage is {named!r}; allowed is one of download, evaluate, export, train\n"
    assert (done.returncode, done.stderr) == (2, expected)


def test_what_an_experiment_set_is_a_change_to_git_though_its_stage_refuses_it(tmp_path):
    shutil.copytree(ROOT / "pipeline", tmp_path / "pipeline")
    path = tmp_path / "params.yaml"
    params = (ROOT / "params.yaml").read_text()
    path.write_text(params)
    change_unseen_by_git(path, "  beta: 0.9 ", "  beta: 3   ")
    done = run("-m", "lifline.stage", "train", folder=tmp_path, DVC_EXP_NAME="calm-heron")
    assert (done.returncode, "network.beta is 3;" in done.stderr) == (2, True)
    git(tmp_path, "checkout", "params.yaml")
    assert path.read_text() == params


def test_what_an_experiment_set_is_of_another_second_than_it_was(tmp_path):
    """Git compares whole seconds. A clock that is behind the file stands for one that is in the same second."""
    (tmp_path / "pipeline").mkdir()
    (tmp_path / "pipeline/mine.py").touch()
    path = tmp_path / "params.yaml"
    path.touch()
    os.utime(path, (3e9, 3e9))
    assert run("-m", "lifline.stage", "mine", folder=tmp_path, DVC_EXP_NAME="calm-heron").returncode == 0
    assert path.stat().st_mtime >= 3e9 + 1
