import numpy as np
import pytest
import torch

from lifline.data.tensor_file import pack, unpack
from lifline.errors import ModelError
from lifline.export.integer.files import files, load_integer_network
from lifline.export.integer.quantize import quantize
from lifline.export.integer.reference import run
from tests.export.integer.networks import random_images, random_network

SHAPE = (2, 9, 8)


@pytest.fixture
def integer():
    return quantize(random_network("3C3p1-AP2-4C2-MP2-6", SHAPE, spike_delay=1, coding="latency"), "latency")


@pytest.fixture
def path(integer, tmp_path):
    path = tmp_path / "network.safetensors"
    path.write_bytes(files(integer)["network.safetensors"])
    return path


def test_the_file_alone_rebuilds_the_network(integer, path):
    rebuilt = load_integer_network(path)
    assert files(rebuilt) == files(integer)
    images = random_images(30, SHAPE)
    for found, expected in zip(run(rebuilt, images).layers, run(integer, images).layers, strict=True):
        np.testing.assert_array_equal(found.spikes, expected.spikes)
    assert rebuilt.num_bytes == integer.num_bytes


def test_its_size_is_that_of_its_numbers():
    integer = quantize(random_network("6", (1, 4, 4)), "rate")
    assert integer.num_bytes == (16 * 6 + 6 * 4) + 2 * 4 * (6 + 4)


def changed_file(path, tensors=(), **header):
    """Write another file whose seal is right."""
    held = unpack(path)
    path.write_bytes(pack(held.tensors | dict(tensors), held.header | header))


@pytest.mark.parametrize(
    "header",
    [
        {"num_steps": 0},
        {"coding": "rate"},
        {"decoding": "best"},
        {"layers": "3C3p1-AP2-4C2-MP2-"},
        {"layers": "3C30"},
        {"input_shape": [9, 8]},
        {"input_shape": []},
        {"neurons": [{"multiplier": 2**16 + 1, "fraction_bits": 0, "spike_delay": 0}] * 4},
        {"more": 1},
    ],
)
def test_headers_that_are_not_allowed_are_refused(path, header):
    changed_file(path, **header)
    with pytest.raises(ModelError, match="is no integer network of this version"):
        load_integer_network(path)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"layers": "3C3p1-AP2"}, "it has not the numbers of each of its layers"),
        ({"layers": "3C3p1-AP2-4C2-MP2-7"}, r"2.weights is torch.int8 \[6, 4\], allowed is torch.int8 \[7, 4\]"),
        ({"num_classes": 5}, r"3.weights is torch.int8 \[4, 6\], allowed is torch.int8 \[5, 6\]"),
        ({"tensors": {"0.bias": torch.zeros(3)}}, r"0.bias is torch.float32 \[3\], allowed is torch.int32 \[3\]"),
        ({"tensors": {"more": torch.zeros(3)}}, "it has not the numbers of each of its layers"),
    ],
)
def test_numbers_that_do_not_fit_the_header_are_refused(path, change, told):
    changed_file(path, **change)
    with pytest.raises(ModelError, match=f"network.safetensors is damaged: {told}$"):
        load_integer_network(path)


def test_numbers_that_might_overflow_are_refused(path):
    changed_file(path, {"2.bias": torch.full((6,), 2**31 - 1, dtype=torch.int32)})
    with pytest.raises(ModelError, match=r"is not safe to run: membranes of hidden_3 might outgrow 32 bits$"):
        load_integer_network(path)


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(ModelError, match=r"none.safetensors is missing"):
        load_integer_network(tmp_path / "none.safetensors")


def test_each_damaged_bit_is_found(path):
    content = path.read_bytes()
    for place in range(0, len(content), 23):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1 << place % 8]) + content[place + 1 :])
        with pytest.raises(ModelError, match=r"is (damaged|no integer network)"):
            load_integer_network(path)
    for length in range(0, len(content), 97):
        path.write_bytes(content[:length])
        with pytest.raises(ModelError, match="is damaged"):
            load_integer_network(path)
