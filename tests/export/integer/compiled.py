"""The C of an integer network, compiled and run by itself: what it did, spike for spike."""

import math
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from lifline.export.integer.files import files
from lifline.export.integer.network import IntegerNetwork

HARNESS = Path(__file__).with_name("harness.c")
STRICT = ("-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Werror")
SANITIZED = ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
FAST = ("-O3",)

needs_compiler = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler (cc) on this machine")


class Ran(NamedTuple):
    """Each layer's spikes and membranes `[T, B, *shape]`, classes `[B]` and counts `[B, C]`."""

    spikes: list[np.ndarray]
    membranes: list[np.ndarray]
    classes: np.ndarray
    counts: np.ndarray


def compiled(network: IntegerNetwork, folder: Path, options=FAST) -> Path:
    """Compile the network's files with the harness, warnings as errors."""
    for name, content in files(network).items():
        (folder / name).write_bytes(content)
    numbers = ", ".join(str(math.prod(layer.shape)) for layer in network.layers)
    command = ["cc", *STRICT, *options, "-DNETWORK_TRACE", f"-DNUM_NEURONS={{{numbers}}}", f"-I{folder}"]
    done = subprocess.run(
        [*command, HARNESS, folder / "network.c", "-o", folder / "network"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return folder / "network"


def ran(network: IntegerNetwork, program: Path, images: np.ndarray) -> Ran:
    """Show a compiled network images `[B, *input_shape]`."""
    done = subprocess.run([program], input=images.tobytes(), capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    layer_types = [
        (f"{i}", [("spikes", np.uint8, stored_shape(layer)), ("membrane", np.int32, stored_shape(layer))])
        for i, layer in enumerate(network.layers)
    ]
    num_classes = network.layers[-1].shape[0]
    image_type = [("steps", layer_types, network.num_steps), ("decided", np.int32), ("counts", np.uint32, num_classes)]
    found = np.frombuffer(done.stdout, np.dtype(image_type))
    assert len(found) == len(images)
    steps = found["steps"].swapaxes(0, 1)
    spikes, membranes = (
        [channels_first(steps[f"{i}"][part]) for i in range(len(network.layers))] for part in ("spikes", "membrane")
    )
    return Ran(spikes, membranes, found["decided"], found["counts"])


def stored_shape(layer) -> tuple[int, ...]:
    """The order in which C keeps neurons: behind a convolution, channels last."""
    return (*layer.shape[1:], layer.shape[0])


def channels_first(values: np.ndarray) -> np.ndarray:
    return np.moveaxis(values, -1, 2)
