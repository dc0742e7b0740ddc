from pathlib import Path

import pytest

from tests.serving.quick_model import quick_model, serving


@pytest.fixture(scope="session")
def model(tmp_path_factory, params, training_images) -> Path:
    return quick_model(tmp_path_factory, params, training_images)


@pytest.fixture(scope="module")
def running(model):
    """The process of `lifline serve` that a module's tests share, and its address."""
    with serving(model) as (process, url):
        yield process, url
        process.terminate()
        stdout, stderr = process.communicate(timeout=30)
        assert (process.returncode, stdout, stderr) == (0, "", "")  # whatever the tests have asked of it


@pytest.fixture(scope="module")
def url(running) -> str:
    return running[1]
