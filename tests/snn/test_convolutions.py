"""Networks with convolutions, beside snnTorch's tutorial 6 and PyTorch's own modules."""

import numpy as np
import pytest
import snntorch
import torch
from snntorch import functional, surrogate
from torch import nn
from torch.nn.functional import max_pool2d

from lifline.snn import Lif, SpikingNetwork
from lifline.snn.loss import rate_ce
from lifline.snn.trace import trace

BATCHES = 20


class Tutorial6(nn.Module):
    """The network of snnTorch's tutorial 6, which steps through time in Python."""

    def __init__(self, num_steps):
        super().__init__()
        self.num_steps = num_steps
        self.conv1, self.conv2, self.fc1 = nn.Conv2d(1, 12, 5), nn.Conv2d(12, 64, 5), nn.Linear(64 * 4 * 4, 10)
        gradient = surrogate.fast_sigmoid(slope=25)
        self.lif1, self.lif2, self.lif3 = (snntorch.Leaky(beta=0.5, spike_grad=gradient) for _ in range(3))

    def forward(self, images):
        membranes = [neuron.init_leaky() for neuron in (self.lif1, self.lif2, self.lif3)]
        spikes = []
        for _ in range(self.num_steps):
            signal, membranes[0] = self.lif1(max_pool2d(self.conv1(images), 2), membranes[0])
            signal, membranes[1] = self.lif2(max_pool2d(self.conv2(signal), 2), membranes[1])
            signal, membranes[2] = self.lif3(self.fc1(signal.flatten(1)), membranes[2])
            spikes.append(signal)
        return torch.stack(spikes)


def network(layers="12C5-MP2-64C5-MP2", num_steps=10, **options):
    return SpikingNetwork.from_layers(
        layers, (1, 28, 28), 10, Lif(0.5, surrogate="fast_sigmoid"), num_steps, seed=1, **options
    )


def test_trains_as_tutorial_6_does(training_images):
    ours, theirs = network(), Tutorial6(num_steps=10)
    optimizer, their_loss = torch.optim.Adam(theirs.parameters(), lr=1e-2), functional.ce_rate_loss()
    num_fired = 0
    for images, labels in zip(training_images.images.split(16), training_images.labels.split(16), strict=False):
        if num_fired and optimizer.state[theirs.fc1.weight]["step"] == BATCHES:
            break
        for our, their in zip(ours.parameters(), theirs.parameters(), strict=True):
            our.data.copy_(their.data)
        record, spikes = ours(images / 255), theirs(images / 255)
        assert torch.equal(record.spikes, spikes)
        loss, expected = rate_ce(record, labels), their_loss(spikes, labels)
        torch.testing.assert_close(loss, expected.squeeze())
        ours.zero_grad(), theirs.zero_grad()
        loss.backward(), expected.backward()
        for our, their in zip(ours.parameters(), theirs.parameters(), strict=True):
            torch.testing.assert_close(our.grad, their.grad, rtol=1e-4, atol=1e-6)
        num_fired += spikes.sum().item()
        optimizer.step()
    assert num_fired > 0


@pytest.mark.parametrize("layers", ["4C3p1-AP2-5C3-6", "4C3-5C3p2-MP3", "7C28", "3C1"])
@pytest.mark.parametrize("coding", ["constant", "latency"])
def test_each_layer_is_pytorchs_module_and_neurons(layers, coding, test_images):
    ours = network(layers, num_steps=6, coding=coding)
    images = test_images.images[:3] / 255
    with torch.no_grad():
        ours.layers[0].projection.bias.add_(0.5)
        traces = trace(ours, images)
        inputs, _ = ours.encode(images)
        steps = inputs.expand(6, *inputs.shape) if coding == "constant" else inputs
        for layer, traced in zip(ours.layers, traces, strict=True):
            modules = [layer.projection]
            if layer.layer.pooling:
                pool = {"max": nn.MaxPool2d, "average": nn.AvgPool2d}[layer.layer.pooling.kind]
                modules.append(pool(layer.layer.pooling.size))
            elif isinstance(layer.projection, nn.Linear):
                modules.insert(0, nn.Flatten())
            neuron = snntorch.Leaky(beta=0.5)
            membrane = neuron.init_leaky()
            for step, spikes, membrane_now in zip(steps, *traced, strict=True):
                expected, membrane = neuron(nn.Sequential(*modules)(step), membrane)
                torch.testing.assert_close(membrane_now, membrane)
                assert torch.equal(spikes, expected)
            steps = traced.spikes
            assert traced.spikes.shape == (6, 3, *layer.shape)


def test_the_first_convolution_is_computed_once_for_a_static_image(test_images):
    ours, shapes = network(), []
    ours.layers[0].projection.register_forward_hook(lambda module, inputs, output: shapes.append(list(output.shape)))
    ours(test_images.images[:2] / 255)
    assert shapes == [[2, 12, 24, 24]]


def test_neurons_may_differ_by_layer():
    neurons = [Lif(0.5, 0.5), Lif(0.6, 0.7), Lif(0.9)]
    ours = SpikingNetwork.from_layers("3C3-9", (1, 6, 6), 4, neurons, 5)
    assert [layer.neuron for layer in ours.layers] == neurons
    for wrong in (neurons[:2], [0.9] * 3, 0.9, torch.tensor(0.9)):
        with pytest.raises(ValueError, match=r"^neuron is .*; allowed are a Lif, or a list of 3: one for each layer$"):
            SpikingNetwork.from_layers("3C3-9", (1, 6, 6), 4, wrong, 5)


@pytest.mark.parametrize("name", ["beta", "threshold"])
def test_a_neuron_has_numbers_or_tensors_and_a_network_a_list_of_neurons(name):
    for several in ([0.5, 0.6], np.linspace(0, 1, 30)):
        with pytest.raises(
            ValueError, match=rf"^{name} is a \w+; allowed are a number and a tensor. For layers that [^\n]*$"
        ):
            Lif(**{"beta": 0.9, name: several})
    Lif(**{"beta": 0.9, name: torch.full((30,), 0.5)})
    Lif(**{"beta": 0.9, name: np.float32(0.5)})


def test_the_decay_is_learned_within_its_bounds():
    torch.manual_seed(0)
    ours = SpikingNetwork.from_layers("20", (12,), 3, [Lif(0.1), Lif(0.99)], 8, learn_beta=True)
    assert ours.learned_betas() == pytest.approx([0.1, 0.99])
    optimizer = torch.optim.SGD([layer.beta_logit for layer in ours.layers], lr=1000.0)
    for _ in range(10):
        optimizer.zero_grad()
        (-ours(2 * torch.rand(5, 12)).membrane.sum()).backward()
        optimizer.step()
        assert all(0 <= beta <= 1 for beta in ours.learned_betas())
    assert ours.learned_betas() != pytest.approx([0.1, 0.99])


def test_the_gradient_of_a_learned_decay_is_its_difference_quotient():
    images = 2 * torch.rand(5, 12, generator=torch.Generator().manual_seed(0))
    ours = SpikingNetwork.from_layers("20", (12,), 3, Lif(0.7), 8, learn_beta=True, seed=3)
    before = ours(images).membrane.sum()
    before.backward()
    logit = ours.layers[-1].beta_logit
    with torch.no_grad():
        logit += 1e-3
        after = ours(images).membrane.sum()
    assert (after - before).item() / 1e-3 == pytest.approx(logit.grad.item(), rel=1e-2)


@pytest.mark.parametrize("beta", [0.0, 1.0])
def test_a_decay_that_cannot_learn_is_refused(beta):
    with pytest.raises(ValueError, match=f"beta is {beta}; allowed is above 0 and below 1 where it is learned"):
        SpikingNetwork.from_layers("20", (12,), 3, Lif(beta), 8, learn_beta=True)


def test_a_frozen_copy_answers_as_the_network_and_learns_no_more():
    ours = SpikingNetwork.from_layers("20-10", (12,), 3, Lif(0.8), 8, learn_beta=True)
    images = 2 * torch.rand(5, 12)
    frozen = ours.frozen()
    assert torch.equal(frozen(images).membrane, ours(images).membrane)
    assert not any(parameter.requires_grad for parameter in frozen.parameters())
    assert [layer.neuron.beta for layer in frozen.layers] == ours.learned_betas()
    assert all(layer.beta_logit is not None for layer in ours.layers)
