"""The integer network's C, compiled and called from Python."""

import ctypes
import subprocess
from collections.abc import Iterator, Sequence
from itertools import cycle
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.task import Task
from lifline.data.datasets import load_dataset
from lifline.export.integer.files import files
from lifline.export.integer.quantize import quantize
from lifline.models.model import load_model
from lifline.paths import MODEL

CALLED = """
#include "network.h"
int classify(const uint8_t *image);
int classify(const uint8_t *image)
{
    static struct network_state state;
    uint32_t counts[NETWORK_NUM_CLASSES];
    return network_classify(image, &state, counts);
}
"""
"""Python knows no size of C's structures."""

NUM_IMAGES = 500


def classify_one(_task: Task, mnist: Path) -> Iterator[int]:
    """Classify one test image at each `next()`, which gives its class; compiled by -O2, for any processor of a kind."""
    return _one_by_one(mnist, ["-O2"])


def classify_one_native(_task: Task, mnist: Path) -> Iterator[int]:
    """Do so compiled by -O3, for this processor."""
    return _one_by_one(mnist, ["-O3", "-march=native"])


def _one_by_one(mnist: Path, options: Sequence[str]) -> Iterator[int]:
    images = [image.numpy().tobytes() for image in load_dataset(mnist).test.images[:NUM_IMAGES]]
    with TemporaryDirectory() as folder:
        library = _compiled(Path(folder), options)
        yield 0
        for image in cycle(images):
            yield library.classify(image)


def _compiled(folder: Path, options: Sequence[str]) -> ctypes.CDLL:
    model = load_model(MODEL)
    for name, content in files(quantize(model.network, model.params.decoding)).items():
        (folder / name).write_bytes(content)
    (folder / "called.c").write_text(CALLED)
    sources, library = (folder / "network.c", folder / "called.c"), folder / "network.so"
    subprocess.run(["cc", "-std=c99", *options, "-shared", "-fPIC", *sources, "-o", library], check=True)  # noqa: S607
    return ctypes.CDLL(str(library))
