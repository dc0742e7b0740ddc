from fractions import Fraction
from math import floor

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lifline.data.batches import as_input
from lifline.export.integer.network import IntegerLayer, decayed, largest_inputs, spike_steps
from lifline.export.integer.quantize import quantize
from lifline.export.integer.reference import fire, run
from lifline.layers import Dense, HiddenLayer
from lifline.snn import decode
from lifline.snn.trace import trace
from tests.export.integer.networks import STEP, exact_network, random_images

INT32 = st.integers(-(2**31), 2**31 - 1)
CASES = [
    ("9", (1, 4, 5), {}, "rate"),
    ("9-7", (12,), {"spike_delay": 1}, "membrane"),
    ("3C3-MP2-6", (1, 9, 8), {}, "rate_membrane"),
    ("3C3p2-AP2-4C2-MP2-6", (3, 8, 7), {"spike_delay": 1}, "latency"),
    ("2C3p1-AP2-3C3", (2, 7, 8), {"coding": "latency"}, "latency"),
    ("8", (1, 5, 5), {"coding": "latency", "spike_delay": 1}, "rate_membrane"),
]


@given(INT32, st.integers(0, 2**16))
def test_a_membrane_decays_to_the_nearest_whole_number(membrane, multiplier):
    expected = floor(Fraction(membrane * multiplier, 2**16) + Fraction(1, 2))
    assert decayed(np.array([membrane], np.int64), multiplier).tolist() == [expected]


@pytest.mark.parametrize("num_steps", [1, 2, 3, 7, 10, 25, 99, 256, 1000])
def test_pixels_fire_by_latency_when_the_formula_says(num_steps):
    pixels = np.arange(256, dtype=np.float32) / np.float32(255)
    steps = np.rint(np.float32(num_steps - 1) * (np.float32(1) - pixels)).astype(int)  # halves to even
    assert spike_steps(num_steps).tolist() == [num_steps] * 3 + steps[3:].tolist()  # 2 / 255 is dark, 3 / 255 is not


@pytest.mark.parametrize(("layers", "input_shape", "options", "decoding"), CASES)
@pytest.mark.parametrize("seed", range(3))
def test_a_network_that_int8_holds_is_the_same_in_whole_numbers(layers, input_shape, options, decoding, seed):
    network = exact_network(layers, input_shape, seed, **options)
    images = random_images(40, input_shape, seed)
    if network.coding == "constant":
        images[images < 255] = 0  # 1 / 255 is no sum of halves
    integer = quantize(network, decoding)
    found = run(integer, images)
    shown = as_input(torch.from_numpy(images))
    with torch.no_grad():
        record, expected = network(shown), trace(network, shown)
    for quantized, layer, of_layer, largest_input in zip(
        integer.layers, found.layers, expected, largest_inputs(integer.coding, len(integer.layers)), strict=True
    ):
        np.testing.assert_array_equal(layer.spikes, of_layer.spikes.numpy())
        assert 0 < layer.spikes.mean() < 1
        unit = STEP / (largest_input * quantized.num_summed * 2**quantized.fraction_bits)
        np.testing.assert_allclose(layer.membrane * unit, of_layer.membrane.numpy(), rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(found.classes, decode(record, decoding).numpy())
    assert len(set(found.classes)) > 1


def layer_of(weights, **changes):
    num_neurons, num_inputs = weights.shape
    values = {
        "bias": np.zeros(num_neurons, np.int32),
        "threshold": np.full(num_neurons, 1000, np.int32),
        "multiplier": 2**15,
        "fraction_bits": 0,
        "spike_delay": 0,
    } | changes
    return IntegerLayer(
        HiddenLayer(Dense(num_neurons)),
        (num_inputs,),
        (num_neurons,),
        (num_neurons,),
        weights.astype(np.int8),
        **values,
    )


@given(st.integers(-9, 9), st.integers(0, 2**16), st.integers(0, 1), st.lists(st.integers(-5000, 5000), min_size=1))
def test_neurons_decay_are_charged_and_lose_the_threshold(threshold, multiplier, delay, currents):
    layer = layer_of(
        np.zeros((1, 1)), threshold=np.array([threshold], np.int32), multiplier=multiplier, spike_delay=delay
    )
    trace_of_layer = fire(layer, (np.array([[current]]) for current in currents))
    membrane, fired, membranes, spikes = 0, 0, [], [0] * delay
    for current in currents:
        membrane = floor(Fraction(membrane * multiplier, 2**16) + Fraction(1, 2)) + current - threshold * fired
        fired = int(membrane > threshold)
        membranes.append(membrane)
        spikes.append(fired)
    assert trace_of_layer.membrane.ravel().tolist() == membranes
    assert trace_of_layer.spikes.ravel().tolist() == spikes[: len(currents)]


@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.integers(0, 2**16), st.integers(0, 8), st.integers(1, 9))
def test_no_image_takes_a_membrane_beyond_its_bound(seed, num_inputs, multiplier, fraction_bits, num_steps):
    draw = np.random.default_rng(seed)
    weights = draw.integers(-127, 128, (3, num_inputs))
    layer = layer_of(
        weights,
        bias=draw.integers(-9999, 9999, 3).astype(np.int32),
        threshold=draw.integers(1, 99999, 3).astype(np.int32),
        multiplier=multiplier,
        fraction_bits=fraction_bits,
    )
    bound = layer.largest_membrane(255, num_steps)
    for worst in (weights > 0, weights < 0):  # for each neuron, all that excites it, and all that inhibits it
        sums = 255 * (worst.astype(np.int64) @ weights.T) * 2**fraction_bits + layer.bias
        membranes = fire(layer, (sums for _ in range(num_steps))).membrane
        assert np.abs(membranes.astype(np.int64)).max() <= bound
    steady = layer_of(weights, multiplier=2**16, bias=np.full(3, 500, np.int32), threshold=np.full(3, 10**6, np.int32))
    assert steady.largest_membrane(0, num_steps) == num_steps * (500 + 10**6)
