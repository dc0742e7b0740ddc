import os
import signal

import numpy as np
import pytest
from numba import types
from numba.extending import intrinsic

from lifline.snn.kernels import threads
from lifline.snn.kernels.threads import compiled, run


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(threads, "cache_folder", lambda: tmp_path)
    return tmp_path


@intrinsic
def interrupted(_):
    """Send a signal from within the compiler, as a user might who waits for it."""

    def generate(context, *_):
        os.kill(os.getpid(), signal.SIGINT)
        return context.get_dummy_value()

    return types.none(), generate


def test_a_signal_that_comes_while_a_kernel_compiles_waits_and_is_not_lost():
    @compiled()
    def kernel(values):
        interrupted()
        values[0] = 1

    values = np.zeros(1)
    with pytest.raises(KeyboardInterrupt):
        run(kernel, values)
    assert values[0] == 1
    values[0] = 0
    run(kernel, values)
    assert values[0] == 1


def test_a_kernel_is_kept_where_there_is_a_place_for_it(folder, monkeypatch):
    def add_one(values):
        values[0] += 1

    values = np.zeros(1)
    for _ in range(2):
        kernel = compiled()(add_one)
        run(kernel, values)
        run(kernel, values)
    assert sum(kernel.stats.cache_hits.values()) == 1
    monkeypatch.setattr(threads, "cache_folder", lambda: None)
    run(compiled()(add_one), values)
    assert values[0] == 5
