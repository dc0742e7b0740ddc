"""What people hook into a network or put in a layer's place is called, not passed over."""

import re
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn.utils import prune, weight_norm

from lifline.snn import Lif, SpikingNetwork
from lifline.snn.layer import SpikingLayer
from lifline.snn.trace import trace


@pytest.fixture
def network():
    return SpikingNetwork.from_layers("30-20", (12,), 4, Lif(0.9, 0.2), 8, seed=3)


@pytest.fixture
def images():
    return 2 * torch.rand(5, 12, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("register", ["register_forward_hook", "register_forward_pre_hook"])
@pytest.mark.parametrize("of_projection", [True, False])
def test_hooks_fire_at_every_layer(network, images, place, register, of_projection):
    layer = network.layers[place]
    called = []
    expected = network(images).spikes
    getattr(layer.projection if of_projection else layer, register)(lambda *arguments: called.append(len(arguments)))
    assert torch.equal(network(images).spikes, expected)
    assert len(called) == 1


def test_a_hook_of_all_modules_sees_every_layer(network, images):
    seen = []
    handle = nn.modules.module.register_module_forward_hook(lambda module, *_: seen.append(type(module).__name__))
    try:
        network(images)
    finally:
        handle.remove()
    assert seen.count("Linear") == seen.count("SpikingLayer") == 3


@pytest.mark.parametrize("place", [0, 1, 2])
def test_spikes_are_seen_where_a_hook_is(network, images, place):
    expected, traced, seen = network(images), trace(network, images), []
    network.layers[place].spikes.register_forward_hook(lambda _module, _inputs, spikes: seen.append(spikes))
    record = network(images)
    assert torch.equal(record.spikes, expected.spikes)
    assert all(map(torch.equal, record.hidden_counts, expected.hidden_counts))
    assert len(seen) == 1
    assert torch.equal(seen[0], traced[place].spikes)
    assert seen[0].sum() > 0


def test_who_looks_at_the_outputs_spikes_changes_nothing_before_them(network, images, monkeypatch):
    network.layers[-1].spikes.register_forward_hook(lambda *_: None)
    monkeypatch.setattr("lifline.snn.layer.lif_spikes", None)  # hidden spikes are not stored
    assert network(images).spikes.sum() > 0


@pytest.mark.parametrize("layers", ["30-20", "3C3-MP2-5C3-MP2"])
def test_spikes_go_through_what_is_put_in_their_place(layers):
    network = SpikingNetwork.from_layers(layers, (1, 14, 14), 4, Lif(0.9, 0.1), 5, seed=1)
    images = torch.rand(2, 1, 14, 14, generator=torch.Generator().manual_seed(0))
    assert network(images).hidden_counts[0].sum() > 0
    network.layers[0].spikes = nn.Dropout(1.0)  # none gets through
    record, bias = network(images), network.layers[1].projection.bias
    assert record.hidden_counts[0].sum() == 0
    shape = network.layers[1].shape
    current = bias.view(-1, *[1] * (len(shape) - 1)).expand(5, 2, *shape)
    torch.testing.assert_close(record.hidden_counts[1], network.layers[1].fire(current, None)[0].sum(0).flatten(1))
    assert torch.equal(network.eval()(images).hidden_counts[0], trace(network, images)[0].spikes.sum(0).flatten(1))


class Doubled(torch.Tensor):
    """A weight that counts twice in products, as one that is quantised has products of its own."""

    @classmethod
    def __torch_function__(cls, function, types, arguments=(), options=None):
        if function in (nn.functional.linear, nn.functional.conv2d):
            inputs, weight, *others = arguments
            return function(inputs, 2 * weight.as_subclass(torch.Tensor), *others, **(options or {}))
        return super().__torch_function__(function, types, arguments, options or {})


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("layers", ["30-20", "3C3-MP2-5C3-MP2"])
def test_a_weight_with_products_of_its_own_is_asked(layers, place):
    network = SpikingNetwork.from_layers(layers, (1, 14, 14), 4, Lif(0.9, 0.3), 5, seed=1)
    images = torch.rand(2, 1, 14, 14, generator=torch.Generator().manual_seed(0))
    projection = network.layers[place].projection
    weight = projection.weight.detach()
    plain = network(images).membrane
    projection.weight = nn.Parameter(2 * weight)
    expected = network(images).membrane
    assert not torch.allclose(expected, plain)
    projection.weight = nn.Parameter(weight.as_subclass(Doubled))
    torch.testing.assert_close(network(images).membrane, expected)


def test_a_network_prints_as_its_layers():
    network = SpikingNetwork.from_layers("4C3p1-MP2-12", (1, 8, 8), 4, Lif(0.8, 0.5, spike_delay=1), 5, learn_beta=True)
    printed = str(network)
    assert "num_steps=5, coding=constant" in printed
    assert "4C3p1-MP2, beta=learned, threshold=0.5, surrogate=atan, spike_delay=1" in printed
    assert "      12, beta=learned" in printed


def test_pruned_weights_are_used_as_pruned(network, images):
    prune.random_unstructured(network.layers[-1].projection, "weight", amount=0.5)
    with torch.no_grad():
        network.layers[-1].projection.weight_orig.mul_(2)
    pruned = network(images)
    prune.remove(network.layers[-1].projection, "weight")
    torch.testing.assert_close(network(images).membrane, pruned.membrane)
    assert (network.layers[-1].projection.weight == 0).sum() == 40


@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
def test_old_weight_norm_follows_its_parameters(network, images):
    weight_norm(network.layers[-1].projection)
    before = network(images).membrane
    with torch.no_grad():
        network.layers[-1].projection.weight_g.mul_(3)
    assert not torch.equal(network(images).membrane, before)


@pytest.mark.parametrize("place", [1, 2])
def test_another_module_in_a_layers_place_is_called(network, images, place):
    plain = network(images).membrane
    projection = network.layers[place].projection
    network.layers[place].projection = nn.Sequential(nn.Identity(), projection)
    torch.testing.assert_close(network(images).membrane, plain)

    class Adapter(nn.Linear):
        def forward(self, inputs):
            return super().forward(inputs) + 1

    adapter = Adapter(projection.in_features, projection.out_features)
    adapter.load_state_dict(projection.state_dict())
    network.layers[place].projection = adapter
    assert not torch.allclose(network(images).membrane, plain)


def test_layers_may_do_without_bias(network, images):
    for layer in network.layers:
        layer.projection.bias = nn.Parameter(torch.zeros_like(layer.projection.bias))
    zeros = network(images).membrane
    for layer in network.layers:
        layer.projection.bias = None
    torch.testing.assert_close(network(images).membrane, zeros)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_a_quantized_network_answers_nearly_as_before(network, images):
    quantized = torch.ao.quantization.quantize_dynamic(network, {nn.Linear}, dtype=torch.qint8)
    assert (quantized(images).spikes != network(images).spikes).float().mean() < 0.1


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_network_in_half_precision_runs_and_learns(network, images, dtype):
    half = network.to(dtype)
    record = half(images.to(dtype))
    record.membrane.sum().backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in half.parameters())
    assert record.spikes.sum() > 0


CONVOLUTIONS = {
    "circular": partial(nn.Conv2d, 3, 5, 3, padding=1, padding_mode="circular"),
    "dilated": partial(nn.Conv2d, 3, 5, 2, dilation=2, padding=1),
    "padded to the same size": partial(nn.Conv2d, 3, 5, 2, padding="same"),
    "grouped": partial(nn.Conv2d, 3, 3, 3, padding=1, groups=3),
    "another padding": partial(nn.Conv2d, 3, 5, 5, padding=2),
}


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_another_convolution_in_a_layers_place_is_called(name):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        convolution = CONVOLUTIONS[name]()
    nn.init.constant_(convolution.bias, 0.05)  # so that its neurons fire
    layers = f"3C3-MP2-{convolution.out_channels}C3p1-MP2"
    network = SpikingNetwork.from_layers(layers, (1, 14, 14), 4, Lif(0.9, 0.1), 5, seed=1)
    network.layers[1].projection = convolution
    images = torch.rand(2, 1, 14, 14, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        traces, record = trace(network, images), network(images)
    assert traces[1].spikes.sum() > 0
    torch.testing.assert_close(record.membrane, traces[-1].membrane)


def test_a_forward_of_ones_own_is_called(network, images):
    plain, projection = network(images).membrane, network.layers[1].projection
    projection.forward = lambda spikes: 2 * nn.functional.linear(spikes, projection.weight, projection.bias)
    doubled = network(images).membrane
    assert not torch.allclose(doubled, plain)
    torch.testing.assert_close(doubled, trace(network, images)[-1].membrane)

    class Quiet(SpikingLayer):
        def forward(self, inputs):
            return 0 * super().forward(inputs)

    network.layers[-1].__class__ = Quiet
    assert (network(images).membrane == 0).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("layers", ["3C3-AP2-5C3-AP2", "3C3-MP2-5C3-MP2", "9-1200-8"])
def test_any_network_in_half_precision_runs_and_is_traced(dtype, layers):
    network = SpikingNetwork.from_layers(layers, (1, 14, 14), 4, Lif(0.9, 0.1), 5, seed=1).to(dtype)
    network.layers[1].register_forward_hook(lambda *_: None)
    images = torch.rand(2, 1, 14, 14, generator=torch.Generator().manual_seed(0)).to(dtype)
    record = network(images)
    record.membrane.sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in network.parameters())
    assert trace(network, images)[-1].membrane.shape == record.membrane.shape


@pytest.mark.parametrize("layers", ["9", "9-9", "3C3-MP2-5C3-MP2", "3C3-AP2-5C3"])
def test_an_empty_batch_has_an_empty_answer(layers):
    network = SpikingNetwork.from_layers(layers, (1, 14, 14), 4, Lif(0.9, 0.1), 5)
    assert network(torch.zeros(0, 1, 14, 14)).spikes.shape == (5, 0, 4)


def test_a_convolution_is_in_full_precision_beside_autocast_as_the_reference_is(monkeypatch):
    network = SpikingNetwork.from_layers("3C3-MP2-5C3-MP2", (1, 14, 14), 4, Lif(0.9, 0.1), 5, seed=1)
    images = torch.rand(2, 1, 14, 14, generator=torch.Generator().manual_seed(0))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        fused = network(images)
        monkeypatch.setenv("LIFLINE_KERNELS", "reference")
        reference = network(images)
    torch.testing.assert_close(fused.membrane, reference.membrane)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"num_steps": 0}, "num_steps is 0; allowed is a whole number from 1"),
        ({"num_steps": 2.5}, "num_steps is 2.5; allowed is a whole number from 1"),
        ({"layers": "12C5,MP2"}, "layers is '12C5,MP2'; allowed are parts joined by - alone"),
        ({"layers": "12C9-MP2"}, "layers is '12C9-MP2', which the image is too small for"),
        ({"num_classes": 0}, "num_classes is 0; allowed is a whole number from 1"),
        ({"layers": 1000}, "layers is 1000; allowed are parts joined by -"),
        ({"input_shape": 28}, "input_shape is 28; allowed are whole numbers from 1, such as (1, 28, 28)"),
        ({"input_shape": ()}, "input_shape is (); allowed are"),
        ({"input_shape": (1, 28.0, 28)}, "input_shape is (1, 28.0, 28); allowed are"),
        ({"input_shape": (0, 28, 28)}, "input_shape is (0, 28, 28); allowed are"),
        (
            {"layers": "4C3", "input_shape": (28, 28)},
            "layers is '4C3'; allowed for images of 28 x 28 are",
        ),
    ],
)
def test_what_no_network_can_be_made_of_is_named(values, message):
    usual = {"layers": "9", "input_shape": (1, 8, 8), "num_classes": 4, "neuron": Lif(0.9), "num_steps": 5}
    with pytest.raises(ValueError, match=re.escape(message)):
        SpikingNetwork.from_layers(**usual | values)
