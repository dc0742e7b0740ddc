"""`python -m lifline.stage`, as dvc.yaml calls it."""

import signal
import subprocess
import sys

import pytest

from tests.conftest import ROOT
from tests.processes import clean_environment

INTERRUPTED_WHEN_IMPORTING = """
import os, runpy, signal, sys
from importlib.abc import MetaPathFinder
class Interrupting(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name == sys.argv[2]:
            sys.argv[2] = ""
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupting())
runpy.run_module("lifline.stage", run_name="__main__")
"""


@pytest.mark.parametrize("library", ["lifline.data.datasets", "torch"])
def test_an_interruption_while_libraries_are_loaded_is_one_line(library):
    command = [sys.executable, "-c", INTERRUPTED_WHEN_IMPORTING, "train", library]
    environment = clean_environment() | {"PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (128 + signal.SIGINT, "")
    assert done.stderr == "error: interrupted; the same command goes on\n"
