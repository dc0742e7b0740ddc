import math

import numpy as np
import pytest
import torch
from torch import nn

from lifline.data.batches import as_input
from lifline.errors import ModelError
from lifline.export.integer.network import largest_inputs
from lifline.export.integer.quantize import quantize
from lifline.export.integer.reference import run
from lifline.snn import Lif, SpikingNetwork
from lifline.snn.trace import trace
from tests.export.integer.networks import random_images, random_network

DEEP = "3C3-AP2-4C2-MP2-6"
THRESHOLD = 0.6


@pytest.mark.parametrize("coding", ["constant", "latency"])
def test_weights_and_biases_are_as_near_as_their_unit_allows(coding):
    network = random_network(DEEP, (1, 10, 9), coding=coding, threshold=THRESHOLD)
    integer = quantize(network, "rate")
    largest = largest_inputs(coding, len(integer.layers))
    for quantized, layer, largest_input in zip(integer.layers, network.layers, largest, strict=True):
        real, bias = (parameter.detach().double().numpy() for parameter in layer.plain_parameters())
        per_channel = (-1, *[1] * (real.ndim - 1))
        unit = THRESHOLD / quantized.threshold.astype(float)  # to within half of it
        step = unit * 2**quantized.fraction_bits * largest_input * quantized.num_summed
        error = np.abs(quantized.weights * step.reshape(per_channel) - real)
        assert (error <= 0.501 * step.reshape(per_channel)).all()
        assert (np.abs(quantized.bias * unit - bias) <= unit).all()
        assert np.abs(quantized.weights.astype(int)).max() == 127
        assert quantized.multiplier == round(0.8 * 2**16)


def test_each_hidden_channel_has_a_unit_and_the_output_one():
    integer = quantize(random_network(DEEP, (1, 10, 9)), "rate")
    *hidden, output = integer.layers
    for layer in hidden:
        assert (np.abs(layer.weights.astype(int)).reshape(len(layer.weights), -1).max(1) == 127).all()
        assert len(set(layer.threshold.tolist())) == len(layer.threshold)
    assert len(set(output.threshold.tolist())) == 1


def test_betas_and_thresholds_are_each_layers_own():
    neurons = [Lif(0.25, 0.5), Lif(1.0, 2.0)]
    network = SpikingNetwork.from_layers("5", (1, 2, 2), 3, neurons, 4, learn_beta=False)
    assert [layer.multiplier for layer in quantize(network, "rate").layers] == [2**14, 2**16]
    learned = SpikingNetwork.from_layers("5", (1, 2, 2), 3, Lif(0.5), 4, learn_beta=True)
    with torch.no_grad():
        learned.layers[0].beta_logit.fill_(math.log(3))
    assert [layer.multiplier for layer in quantize(learned, "rate").layers] == [3 * 2**14, 2**15]


@pytest.mark.parametrize("weight", [0.0, 1e-30])
def test_a_neuron_without_weights_to_speak_of_fires_by_its_bias(weight):
    network = SpikingNetwork.from_layers("5", (1, 2, 2), 3, Lif(0.5), 6)
    with torch.no_grad():
        network.layers[0].projection.weight.fill_(weight)
        network.layers[0].projection.bias.copy_(torch.tensor([0, 0.45, 0.7, 3, -40]))
        network.layers[1].projection.weight.fill_(weight)
        network.layers[1].projection.bias.zero_()
    images = random_images(2, (1, 2, 2))
    found = run(quantize(network, "rate"), images)
    with torch.no_grad():
        expected = trace(network, as_input(torch.from_numpy(images)))
    np.testing.assert_array_equal(found.layers[0].spikes, expected[0].spikes.numpy())
    assert found.layers[0].spikes.any((0, 1)).tolist() == [False, False, True, True, False]
    assert not found.layers[1].spikes.any()


def test_weights_far_below_their_threshold_keep_their_bits():
    network = random_network("6", (1, 28, 28), threshold=40.0)
    (hidden, _) = quantize(network, "rate").layers
    assert np.abs(network.layers[0].projection.weight.detach().numpy()).max() < 40 / 300
    assert np.abs(hidden.weights.astype(int)).max() == 127


def test_a_neuron_without_weights_is_no_reason_to_refuse_a_long_memory():
    network = random_network("6", (1, 28, 28), beta=0.99, num_steps=100)
    with torch.no_grad():
        network.layers[0].projection.weight[2].zero_()
    assert not quantize(network, "rate").layers[0].weights[2].any()


def test_longer_runs_leave_fewer_bits_for_fractions():
    bits = {
        num_steps: quantize(random_network("6", (1, 28, 28), beta=1.0, num_steps=num_steps), "rate")
        .layers[0]
        .fraction_bits
        for num_steps in (2, 20)
    }
    assert bits[2] > bits[20] >= 0


def test_membranes_that_cannot_be_bounded_are_refused():
    network = random_network("6", (1, 28, 28), beta=1.0, num_steps=1000)
    with pytest.raises(ModelError, match=r"hidden_1 cannot be bounded: within 1000 steps .* beta 1 .*; allowed"):
        quantize(network, "rate")
    quantize(random_network("6", (1, 28, 28), beta=0.5, num_steps=1000), "rate")


def test_rate_coding_is_refused_with_its_reason():
    with pytest.raises(ModelError, match=r"coding is rate, which draws numbers .* allowed .* constant and latency"):
        quantize(random_network("6", (1, 4, 4), coding="rate"), "rate")


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_numbers_that_are_not_finite_are_refused(value):
    network = random_network("6", (1, 4, 4))
    with torch.no_grad():
        network.layers[1].projection.bias[0] = value
    with pytest.raises(ModelError, match="output has a weight or bias that is not finite"):
        quantize(network, "rate")


def test_what_others_have_put_in_a_layers_place_is_refused():
    network = random_network("6", (1, 4, 4))
    network.layers[0].projection = nn.Sequential(network.layers[0].projection, nn.Dropout())
    with pytest.raises(ModelError, match="hidden_1 computes other than"):
        quantize(network, "rate")
    network = random_network("6", (1, 4, 4))
    network.layers[0].spikes = nn.Dropout()
    with pytest.raises(ModelError, match="hidden_1 computes other than"):
        quantize(network, "rate")


def test_quantizing_leaves_the_network_alone():
    network = random_network("6", (1, 4, 4), learn_beta=True)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    quantize(network, "rate")
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert all(parameter.requires_grad for parameter in network.parameters())
