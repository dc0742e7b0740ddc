"""Energy of an image, by hand; and what must hold of any network."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lifline.evaluation.energy import (
    activation_bits,
    float_arithmetic,
    picojoules_per_bit,
    quantised_energy,
    spiking_energy,
)
from lifline.evaluation.operations import LayerWork

SMALL = 10 / 64
"""Picojoules per bit of a memory of up to 8 kB."""


def two_layers(spikes=3.0, firing=2.0):
    """100-20-10: a constant image with 40 pixels that are not 0, `spikes` hidden spikes of `firing` neurons."""
    hidden = LayerWork(True, 100, 2000, 20, 20, dense=2000, effective=800, active=800)
    output = LayerWork(False, 20, 200, 10, 10, dense=200, effective=10 * spikes, active=10 * firing)
    return [hidden, output]


def test_arithmetic_in_floating_point_is_horowitzs():
    assert float_arithmetic(784_000, 8_173.702) == pytest.approx(3_613_756.3, abs=0.1)


def test_a_memory_costs_what_horowitz_has_and_lies_on_lines_between():
    kilobyte = 1024
    words = {1: 10, 8: 10, 20: 15, 32: 20, 528: 60, 1024: 100, 2016: 180}
    for size, picojoules in words.items():
        assert 64 * picojoules_per_bit(size * kilobyte) == pytest.approx(picojoules)


@given(st.integers(1, 1000))
def test_activations_have_the_fewest_bits_that_tell_all_counts(num_steps):
    assert 2 ** activation_bits(num_steps) >= num_steps + 1 > 2 ** (activation_bits(num_steps) - 1)


def test_a_spiking_network_by_hand():
    """Two steps: one decay, and one time that membranes are kept."""
    energy = spiking_energy(two_layers(), 2, skips_zero_pixels=False)
    hidden = 2000 * (0.2 + 0.1) + 20 * 0.1 + 20 * (2 * 0.1 + 3.1 + 0.1)
    output = 30 * 0.1 + 2 * 10 * 0.1 + 10 * (2 * 0.1 + 3.1 + 0.1)
    assert energy.arithmetic == pytest.approx(hidden + output)
    weights = 2000 * 8 + 30 * 8
    inputs = 100 * 8 + 2 * 20
    biases = 20 * 32 + 2 * 10 * 32
    membranes = (20 + 10) * 2 * 32
    current = 20 * 2 * 32  # written once, read once
    spikes = 2 * (20 + 10)
    assert energy.memory == pytest.approx(SMALL * (weights + inputs + biases + membranes + current + spikes))


def test_an_ordinary_network_by_hand():
    """Activations of 0, 1 or 2 have two bits."""
    energy = quantised_energy(two_layers(), 2, skips_zeros=False)
    hidden = 2000 * (0.2 + 0.1) + 20 * 0.1 + 20 * 2 * 0.1
    output = 200 * (0.2 * 2 / 8 + 0.1) + 10 * 0.1 + 10 * 2 * 0.1
    assert energy.arithmetic == pytest.approx(hidden + output)
    bits = 2200 * 8 + 100 * 8 + 20 * 2 + 30 * 32 + 30 * 2
    assert energy.memory == pytest.approx(SMALL * bits)


def test_without_zeros_only_their_operations_and_weights_are_left_out():
    every, skipped = (quantised_energy(two_layers(), 2, skips_zeros=skips) for skips in (False, True))
    num_left_out = (2000 - 800, 200 - 20)
    assert every.arithmetic - skipped.arithmetic == pytest.approx(num_left_out[0] * 0.3 + num_left_out[1] * 0.15)
    assert every.memory - skipped.memory == pytest.approx(SMALL * 8 * sum(num_left_out))
    every, skipped = (spiking_energy(two_layers(), 2, skips) for skips in (False, True))
    assert every.arithmetic - skipped.arithmetic == pytest.approx(num_left_out[0] * 0.3)
    assert every.memory - skipped.memory == pytest.approx(SMALL * 8 * num_left_out[0])


def test_large_weights_are_read_from_a_large_memory():
    layer = LayerWork(False, 1000, 1024**2, 10, 10, dense=1024**2, effective=1.0, active=1.0)
    more = layer._replace(effective=2.0)
    a_weight = spiking_energy([more], 1, False).memory - spiking_energy([layer], 1, False).memory
    assert a_weight == pytest.approx(8 * 100 / 64)


@given(spikes=st.floats(0, 20))
def test_of_one_step_a_spiking_network_is_the_ordinary_one_that_skips_zeros(spikes):
    """Its activations are spikes; no comparison of the two can find a difference, so none may come from the model."""
    layers = two_layers(spikes, firing=spikes)
    for one, other in zip(spiking_energy(layers, 1, True), quantised_energy(layers, 1, True), strict=True):
        assert one == pytest.approx(other)


@given(st.integers(1, 50), st.floats(0, 20))
def test_each_further_step_costs_as_much_and_each_spike_too(num_steps, spikes):
    totals = [sum(spiking_energy(two_layers(spikes), steps, False)) for steps in range(num_steps + 1, num_steps + 4)]
    assert totals[2] - totals[1] == pytest.approx(totals[1] - totals[0])
    another = sum(spiking_energy(two_layers(spikes + 1), num_steps, False))
    assert another - sum(spiking_energy(two_layers(spikes), num_steps, False)) == pytest.approx(10 * (0.1 + 8 * SMALL))
