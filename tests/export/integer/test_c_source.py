import re
import subprocess
from fractions import Fraction
from math import floor
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lifline.export.integer.c_source import c_header, c_source
from lifline.export.integer.files import files
from lifline.export.integer.quantize import quantize
from lifline.export.integer.reference import run
from lifline.layers import LayersError
from lifline.training.fit import fit, new_training
from tests.conftest import MNIST, changed, first
from tests.export.integer.compiled import FAST, SANITIZED, STRICT, compiled, needs_compiler, ran
from tests.export.integer.networks import random_images, random_network

pytestmark = needs_compiler

CASES = [
    ("9", (1, 4, 5), {}, "rate"),
    ("9-7", (12,), {"coding": "latency"}, "latency"),
    ("5C3-MP2-6", (1, 9, 8), {}, "rate_membrane"),
    ("3C3p2-AP2-4C2-MP2-6", (3, 8, 7), {"spike_delay": 1}, "membrane"),
    ("2C5p4-AP3-3C1-3C3p1", (2, 7, 8), {"coding": "latency", "spike_delay": 1}, "rate_membrane"),
    ("4C5", (1, 5, 5), {"learn_beta": True}, "latency"),
]


def check_every_spike(integer, images, folder: Path, options):
    """Compare what the compiled network does with the specification."""
    expected = run(integer, images)
    found = ran(integer, compiled(integer, folder, options), images)
    for layer, spikes, membranes in zip(expected.layers, found.spikes, found.membranes, strict=True):
        np.testing.assert_array_equal(spikes, layer.spikes)
        np.testing.assert_array_equal(membranes, layer.membrane)
    np.testing.assert_array_equal(found.classes, expected.classes)
    np.testing.assert_array_equal(found.counts, expected.layers[-1].spikes.sum(0))
    return expected


@pytest.mark.parametrize(("layers", "input_shape", "options", "decoding"), CASES)
def test_c_equals_the_specification_spike_for_spike(layers, input_shape, options, decoding, tmp_path):
    integer = quantize(random_network(layers, input_shape, seed=4, **options), decoding)
    expected = check_every_spike(integer, random_images(60, input_shape), tmp_path, SANITIZED)
    for layer in expected.layers:
        assert 0 < layer.spikes.mean() < 1
    assert len(set(expected.classes)) > 1


@pytest.mark.parametrize(("layers", "input_shape", "options", "decoding"), CASES)
def test_the_header_tells_the_working_memory(layers, input_shape, options, decoding, tmp_path):
    header = c_header(quantize(random_network(layers, input_shape, **options), decoding))
    (tmp_path / "network.h").write_text(header)
    told = re.search(r"Working memory of a call, ([\d,]+) bytes at most", header)[1].replace(",", "")
    program = f'#include "network.h"\ntypedef char told[sizeof(struct network_state) == {told} ? 1 : -1];\n'
    (tmp_path / "told.c").write_text(program)
    subprocess.run(["cc", *STRICT, "-fsyntax-only", tmp_path / "told.c"], check=True)
    assert ("a channel after the other" in header) == (input_shape[0] > 1 and len(input_shape) > 1)


@st.composite
def networks(draw):
    convolutions = draw(
        st.lists(
            st.tuples(*map(st.integers, (1, 1, 0), (9, 4, 2)), st.sampled_from(("", "-MP2", "-AP2", "-MP3"))),
            max_size=2,
        )
    )
    written = [
        f"{filters}C{kernel}" + (f"p{padding}" if padding else "") + pooling
        for filters, kernel, padding, pooling in convolutions
    ]
    dense = draw(st.lists(st.integers(1, 20), min_size=0 if written else 1, max_size=2))
    input_shape = draw(st.tuples(st.integers(1, 3), st.integers(4, 10), st.integers(4, 10)))
    options = {
        "num_classes": draw(st.integers(1, 5)),
        "num_steps": draw(st.integers(1, 7)),
        "beta": draw(st.sampled_from((0, 0.3, 0.9, 1))),
        "threshold": draw(st.sampled_from((0.2, 1))),
        "spike_delay": draw(st.integers(0, 1)),
        "coding": draw(st.sampled_from(("constant", "latency"))),
        "seed": draw(st.integers(0, 99)),
    }
    try:
        return random_network("-".join([*written, *map(str, dense)]), input_shape, **options)
    except LayersError:
        return None


@settings(max_examples=12, derandomize=True)
@given(networks().filter(bool), st.sampled_from(("rate", "rate_membrane", "latency", "membrane")))
def test_c_equals_the_specification_whatever_the_network(network, decoding):
    images = random_images(20, network.input_shape)
    with TemporaryDirectory() as folder:
        check_every_spike(quantize(network, decoding), images, Path(folder), FAST)


def test_membranes_at_their_bounds_stay_defined(tmp_path):
    network = random_network("6", (1, 5, 5), beta=1.0, threshold=0.001, num_steps=500)
    with torch.no_grad():
        network.layers[0].projection.weight.copy_(torch.tensor([1.0, -1, 1, -1, 1, -1]).view(6, 1).expand(6, 25))
    integer = quantize(network, "rate")
    expected = check_every_spike(integer, np.full((1, 1, 5, 5), 255, np.uint8), tmp_path, SANITIZED)
    assert np.abs(expected.layers[0].membrane.astype(np.int64)).max() > 2**30


DECAY = """
#include <stdio.h>
#include "network.c"
int main(void)
{
    int32_t pair[2];
    while (fread(pair, sizeof pair, 1, stdin) == 1) {
        const int32_t result = decayed(pair[0], (uint32_t)pair[1]);
        fwrite(&result, sizeof result, 1, stdout);
    }
    return 0;
}
"""


def test_c_decays_as_fractions_do(tmp_path):
    for name, content in files(quantize(random_network("2", (1, 2, 2)), "rate")).items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "decay.c").write_text(DECAY)
    subprocess.run(["cc", *STRICT, *SANITIZED, tmp_path / "decay.c", "-o", tmp_path / "decay"], check=True)
    draw = np.random.default_rng(0)
    edges = [-(2**31), -(2**31) + 1, -65537, -65536, -32769, -32768, -2, -1, 0, 1, 2, 32767, 32768, 65536, 2**31 - 1]
    pairs = [(m, k) for m in edges for k in (0, 1, 2, 32767, 32768, 32769, 58982, 65535, 65536)]
    random = np.stack([draw.integers(-(2**31), 2**31, 20_000), draw.integers(0, 2**16 + 1, 20_000)], 1)
    pairs += random.tolist()
    done = subprocess.run(
        [tmp_path / "decay"], input=np.array(pairs, np.int32).tobytes(), capture_output=True, check=True
    )
    expected = [floor(Fraction(m * k, 2**16) + Fraction(1, 2)) for m, k in pairs]
    assert np.frombuffer(done.stdout, np.int32).tolist() == expected


@pytest.mark.parametrize("case", CASES[3:5])
def test_the_source_needs_neither_library_nor_floating_point(case, tmp_path):
    layers, input_shape, options, decoding = case
    made = files(quantize(random_network(layers, input_shape, **options), decoding))
    for name, content in made.items():
        (tmp_path / name).write_bytes(content)
    code = re.sub(rb"/\*.*?\*/", b"", made["network.c"] + made["network.h"], flags=re.DOTALL)
    assert not re.search(rb"\b(float|double|malloc|static (?!const|inline|void))\b|[0-9]\.[0-9]", code)
    assert set(re.findall(rb"#include (.*)", code)) == {b'"network.h"', b"<stdint.h>"}
    compiling = ["cc", *STRICT, "-O2", "-fno-tree-loop-distribute-patterns", "-c"]  # or gcc calls memset
    subprocess.run([*compiling, tmp_path / "network.c", "-o", tmp_path / "network.o"], check=True)
    symbols = subprocess.run(["nm", tmp_path / "network.o"], capture_output=True, text=True, check=True).stdout
    assert [line.split()[-1] for line in symbols.splitlines() if line.split()[-2] in "UTDB"] == ["network_classify"]


def test_equal_networks_give_equal_source():
    texts = {c_source(quantize(random_network("3C3-MP2-6", (1, 9, 8)), "rate")) for _ in range(2)}
    assert len(texts) == 1


@pytest.mark.slow
def test_all_test_images_of_mnist(params, training_images, test_images, tmp_path):
    default = changed(
        params,
        network={"layers": "1000", "num_steps": 10, "beta": 0.9, "threshold": 1.0, "spike_delay": 0},
        train={"epochs": 1, "loss": "rate_mse", "learning_rate": 2e-3},
    )
    state = new_training(default, MNIST, torch.device("cpu"))
    (report,) = fit(state, first(training_images, 20_000), first(test_images, 100), default)
    assert report.train_accuracy > 0.8
    integer = quantize(state.network, "rate")
    program = compiled(integer, tmp_path)
    for images in test_images.images.split(500):
        expected, found = run(integer, images.numpy()), ran(integer, program, images.numpy())
        for layer, spikes in zip(expected.layers, found.spikes, strict=True):
            assert not (spikes != layer.spikes).any()
        assert not (found.classes != expected.classes).any()
