import pytest
import snntorch
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from lifline.snn import Lif, SpikingNetwork
from lifline.snn.loss import membrane_ce


class TutorialNetwork(nn.Module):
    """The network of snnTorch's tutorial 5, which steps through time in Python."""

    def __init__(self, num_inputs, hidden, num_classes, beta, num_steps):
        super().__init__()
        self.num_steps = num_steps
        self.fc1, self.fc2 = nn.Linear(num_inputs, hidden), nn.Linear(hidden, num_classes)
        self.lif1, self.lif2 = snntorch.Leaky(beta=beta), snntorch.Leaky(beta=beta)

    def forward(self, images):
        membrane1, membrane2 = self.lif1.init_leaky(), self.lif2.init_leaky()
        spikes, membranes = [], []
        for _ in range(self.num_steps):
            spike1, membrane1 = self.lif1(self.fc1(images), membrane1)
            spike2, membrane2 = self.lif2(self.fc2(spike1), membrane2)
            spikes.append(spike2)
            membranes.append(membrane2)
        return torch.stack(spikes), torch.stack(membranes)


def images(count=5, seed=0):
    return 3 * torch.rand(count, 12, generator=torch.Generator().manual_seed(seed))


def test_learns_as_the_tutorials_network_does():
    ours = SpikingNetwork.from_layers("30", [12], 4, Lif(0.95), 8, seed=3)
    theirs = TutorialNetwork(12, 30, 4, beta=0.95, num_steps=8)
    theirs.fc1.load_state_dict(ours.layers[0].projection.state_dict())
    theirs.fc2.load_state_dict(ours.layers[1].projection.state_dict())
    labels = torch.tensor([0, 1, 2, 3, 0])

    record = ours(images())
    spikes, membrane = theirs(images())
    assert record.spikes.sum() > 0
    assert record.hidden_counts[0].sum() > 0
    assert torch.equal(record.spikes, spikes)
    torch.testing.assert_close(record.membrane, membrane)

    membrane_ce(record, labels).backward()
    sum(cross_entropy(membrane_now, labels) for membrane_now in membrane).backward()
    for our, their in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(our.grad, their.grad)


def test_a_second_hidden_layer_is_the_same_neurons_on_currents_that_change():
    network = SpikingNetwork.from_layers("30-20", [12], 4, Lif(0.9, 0.2), 8, seed=3)
    neurons = [snntorch.Leaky(beta=0.9, threshold=0.2) for _ in network.layers]
    membranes = [neuron.init_leaky() for neuron in neurons]
    spikes, counts = [], [torch.zeros(5, 30), torch.zeros(5, 20)]
    for _ in range(8):
        signal = images()
        for i, (layer, neuron) in enumerate(zip(network.layers, neurons, strict=True)):
            signal, membranes[i] = neuron(layer(signal), membranes[i])
            if i < 2:
                counts[i] += signal
        spikes.append(signal)
    record = network(images())
    assert record.spikes.sum() > 0
    assert torch.equal(record.spikes, torch.stack(spikes))
    for ours, theirs in zip(record.hidden_counts, counts, strict=True):
        assert torch.equal(ours, theirs)

    torch.stack(spikes).mean().backward()
    expected = [layer.projection.weight.grad.clone() for layer in network.layers]
    network.zero_grad()
    record.spikes.mean().backward()
    for layer, gradient in zip(network.layers, expected, strict=True):
        torch.testing.assert_close(layer.projection.weight.grad, gradient)


def test_the_input_layer_is_computed_once_for_a_static_image():
    network = SpikingNetwork.from_layers("30", [12], 4, Lif(0.95), 8)
    shapes = []
    network.layers[0].register_forward_hook(lambda module, inputs, output: shapes.append(list(output.shape)))
    network(images())
    assert shapes == [[5, 30]]


def test_a_static_image_equals_the_same_image_at_every_step():
    network = SpikingNetwork.from_layers("30", [12], 4, Lif(0.95), 8)
    static, moving = network(images()), network(images().expand(8, -1, -1))
    assert torch.equal(static.spikes, moving.spikes)
    torch.testing.assert_close(static.membrane, moving.membrane)


def test_the_record_has_time_first():
    record = SpikingNetwork.from_layers("30", [12], 4, Lif(0.95), 8)(images())
    assert record.spikes.shape == record.membrane.shape == (8, 5, 4)
    assert [counts.shape for counts in record.hidden_counts] == [(5, 30)]


def test_a_call_leaves_no_trace():
    network = SpikingNetwork.from_layers("30", [12], 4, Lif(0.95), 8)
    first, _, again = network(images()), network(images(seed=1)), network(images())
    assert torch.equal(first.membrane, again.membrane)


def test_the_seed_decides_the_weights_and_disturbs_no_other():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    one, two, other = (SpikingNetwork.from_layers("30", [12], 4, Lif(0.9), 8, seed=seed) for seed in (7, 7, 8))
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(one.layers[0].projection.weight, two.layers[0].projection.weight)
    assert torch.equal(one.layers[1].projection.bias, two.layers[1].projection.bias)
    assert not torch.equal(one.layers[0].projection.weight, other.layers[0].projection.weight)


def test_the_network_flattens():
    network = SpikingNetwork.from_layers("30", [3, 2, 2], 4, Lif(0.95), 8)
    flat = SpikingNetwork.from_layers("30", [12], 4, Lif(0.95), 8)
    assert torch.equal(network(images().unflatten(1, (3, 2, 2))).membrane, flat(images()).membrane)
    moving = images(40).unflatten(0, (8, 5))
    assert torch.equal(network(moving.unflatten(2, (3, 2, 2))).membrane, flat(moving).membrane)


@pytest.mark.parametrize("shape", [(12,), (5, 11), (5, 3, 4), (2, 8, 5, 12), ()])
def test_images_of_another_shape_are_refused(shape):
    network = SpikingNetwork.from_layers("30", [12], 4, Lif(0.95), 8)
    with pytest.raises(ValueError, match=r"^images have the shape \[.*\]; allowed are \[B, 12\] and \[T, B, 12\]$"):
        network(torch.zeros(shape))


@pytest.mark.parametrize("coding", ["constant", "latency", "rate"])
def test_images_in_bytes_are_refused(coding):
    network = SpikingNetwork.from_layers("30", [12], 4, Lif(0.95), 8, coding=coding)
    for shape in ((5, 12), (8, 5, 12)):
        with pytest.raises(ValueError, match=r"^images are of torch.uint8; allowed are floating-point ones: bytes"):
            network(torch.zeros(shape, dtype=torch.uint8))


def test_images_with_steps_of_their_own_take_no_number_of_steps():
    network = SpikingNetwork.from_layers("30", [12], 4, Lif(0.95), 8)
    with pytest.raises(ValueError, match="num_steps is 3; allowed is none where images have steps"):
        network(images(40).unflatten(0, (8, 5)), num_steps=3)


def test_images_are_constant_unless_asked_otherwise():
    plain = SpikingNetwork.from_layers("30", [12], 4, Lif(0.95), 8)
    constant = SpikingNetwork.from_layers("30", [12], 4, Lif(0.95), 8, coding="constant")
    assert plain.coding == "constant"
    assert torch.equal(plain(images()).membrane, constant(images()).membrane)
    inputs, num_steps = plain.encode(images())
    assert torch.equal(inputs, images())
    assert num_steps == 8


@pytest.mark.parametrize("coding", ["latency", "rate"])
def test_a_coded_image_has_steps_for_the_first_layer(coding):
    network = SpikingNetwork.from_layers("30", [3, 2, 2], 4, Lif(0.95), 8, coding=coding)
    shapes = []
    network.layers[0].register_forward_hook(lambda module, inputs, output: shapes.append(list(inputs[0].shape)))
    record = network(images().unflatten(1, (3, 2, 2)), num_steps=6)
    assert shapes == [[6, 5, 3, 2, 2]]
    assert record.spikes.shape == (6, 5, 4)
    assert network.encode(images().unflatten(1, (3, 2, 2)))[1] is None


def test_an_unknown_coding_is_refused():
    with pytest.raises(ValueError, match=r"^coding is 'delta'; allowed are constant, latency, rate$"):
        SpikingNetwork.from_layers("30", [12], 4, Lif(0.95), 8, coding="delta")


def test_the_weights_are_the_same_whatever_the_coding():
    one, other = (
        SpikingNetwork.from_layers("30", [12], 4, Lif(0.9), 8, seed=7, coding=c) for c in ("constant", "rate")
    )
    assert torch.equal(one.layers[0].projection.weight, other.layers[0].projection.weight)


def test_a_neuron_is_a_value():
    assert Lif(0.9) == Lif(0.9)
    assert hash(Lif(0.9)) != hash(Lif(0.8))
    with pytest.raises(AttributeError):
        Lif(0.9).beta = 0.5
