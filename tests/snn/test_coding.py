"""Codings against snnTorch's, a simulation by hand, the binomial distribution and ONNX Runtime."""

import logging

import numpy as np
import onnxruntime
import pytest
import torch
from snntorch import spikegen
from torch import nn

from lifline.snn import Lif, SpikingNetwork
from lifline.snn.coding import latency_spikes, rate_spikes
from lifline.snn.trace import trace

ALL_BYTES = torch.arange(256) / 255
"""Every brightness that a pixel of a file can have."""


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def snntorch_latency(images, num_steps):
    return spikegen.latency(images, num_steps=num_steps, linear=True, normalize=True, clip=True, threshold=0.01)


def network_of(coding, num_steps=7, layers="5", threshold=0.5):
    return SpikingNetwork.from_layers(layers, [2, 3], 3, Lif(0.9, threshold), num_steps, seed=1, coding=coding)


def images_of(count=4, seed=0):
    return torch.rand(count, 2, 3, generator=seeded(seed))


# Latency: one spike a pixel, the brighter the sooner.


@pytest.mark.parametrize("num_steps", [1, 2, 3, 4, 10, 11, 25, 51, 100, 151, 256, 1000])
def test_latency_is_snntorchs(num_steps):
    around_the_threshold = torch.tensor([0.01, np.nextafter(np.float32(0.01), 0), np.nextafter(np.float32(0.01), 1)])
    images = torch.cat([ALL_BYTES, torch.rand(999, generator=seeded()), around_the_threshold]).unflatten(0, (-1, 2))
    found = latency_spikes(images, num_steps)
    assert found.shape == (num_steps, *images.shape)
    assert torch.equal(found, snntorch_latency(images, num_steps))


def test_each_pixel_fires_once_but_the_dark_never():
    spikes = latency_spikes(ALL_BYTES, 10)
    assert torch.equal(spikes.sum(0), (ALL_BYTES >= 0.01).float())
    fired_at = spikes.argmax(0)[3:]
    assert (fired_at.diff() <= 0).all()  # brighter is not later
    assert (fired_at[0], fired_at[-1]) == (9, 0)


def test_a_single_step_holds_the_spikes_of_all_that_is_not_dark():
    assert latency_spikes(torch.tensor([[0.0, 0.009, 0.01, 0.5, 1.0]]), 1).tolist() == [[[0, 0, 1, 1, 1]]]


def test_latency_outside_of_the_range_of_images():
    images = torch.tensor([-torch.inf, -1.0, 1.5, torch.inf, torch.nan])
    assert latency_spikes(images, 3).tolist() == [[0, 0, 1, 1, 0], [0] * 5, [0] * 5]


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_spikes_have_the_images_type_and_one_step_each(dtype):
    images = ALL_BYTES[3:].to(dtype)
    for spikes in (latency_spikes(images, 1000), rate_spikes(images, 10, seeded())):
        assert spikes.dtype == dtype
        assert set(spikes.unique().tolist()) == {0, 1}
    assert (latency_spikes(images, 1000).sum(0) == 1).all()


# Rate: each pixel fires with its brightness as the probability.


def test_rates_are_the_brightness_within_what_chance_allows():
    draws, images = 20_000, ALL_BYTES
    rates = rate_spikes(images, draws, seeded()).mean(0)
    five_deviations = 5 * (images * (1 - images) / draws).sqrt()  # of a binomial: 1 in 1.7 million is farther off
    assert ((rates - images).abs() <= five_deviations).all()  # none at all where never or always


def test_steps_and_pixels_are_drawn_apart():
    num_steps, probability, count = 50, 0.3, 4000
    spikes = rate_spikes(torch.full((count,), probability), num_steps, seeded())
    binomial = num_steps * probability * (1 - probability)
    assert spikes.sum(0).var() == pytest.approx(binomial, rel=5 * (2 / count) ** 0.5)
    in_a_step = count * probability * (1 - probability)
    assert spikes.sum(1).var() == pytest.approx(in_a_step, rel=5 * (2 / num_steps) ** 0.5)


def test_the_generator_decides_and_without_one_pytorchs_does():
    images = images_of()
    one, same, other = (rate_spikes(images, 9, seeded(seed)) for seed in (3, 3, 4))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        assert torch.equal(rate_spikes(images, 9), one)
        assert not torch.equal(rate_spikes(images, 9), one)


def test_rates_outside_of_the_range_of_images_are_never_or_always():
    spikes = rate_spikes(torch.tensor([-1.0, 0.0, 1.0, 1.5, torch.nan]), 200, seeded())
    assert spikes.mean(0).tolist() == [0, 0, 1, 1, 0]


@pytest.mark.parametrize("code", [latency_spikes, rate_spikes])
@pytest.mark.parametrize("num_steps", [0, -1, 2.5, True, None])
def test_a_number_of_steps_that_is_none_is_refused(code, num_steps):
    with pytest.raises(ValueError, match=rf"^num_steps is {num_steps}; allowed is a whole number from 1$"):
        code(images_of(), num_steps)


# Networks that code.


def simulated(network, train):
    """The network on one image's spikes `[T, N]`, number by number; returns output spikes and membranes `[T][C]`."""
    beta, threshold = network.layers[0].neuron.beta, network.layers[0].neuron.threshold
    layers = [(each.projection.weight.tolist(), each.projection.bias.tolist()) for each in network.layers]
    membranes = [[0.0] * len(bias) for _, bias in layers]
    fired = [[0.0] * len(bias) for _, bias in layers]
    spikes_out, membranes_out = [], []
    for signal in train:
        for i, (weight, bias) in enumerate(layers):
            currents = [
                b + sum(w * s for w, s in zip(row, signal, strict=True)) for row, b in zip(weight, bias, strict=True)
            ]
            membranes[i] = [
                beta * membrane + current - threshold * spike
                for membrane, current, spike in zip(membranes[i], currents, fired[i], strict=True)
            ]
            signal = fired[i] = [float(membrane > threshold) for membrane in membranes[i]]  # noqa: PLW2901
        spikes_out.append(signal)
        membranes_out.append(membranes[-1])
    return spikes_out, membranes_out


def latency_by_hand(image, num_steps):
    """The spikes of one image `[T][N]` from Python's own numbers."""
    pixels = image.flatten().tolist()
    return [
        [float(pixel >= 0.01 and round((num_steps - 1) * (1 - pixel)) == step) for pixel in pixels]
        for step in range(num_steps)
    ]


@pytest.mark.parametrize("layers", ["5", "6-5"])
def test_a_network_that_codes_by_latency_does_what_a_simulation_by_hand_does(layers):
    network = network_of("latency", layers=layers, threshold=0.2)
    record = network(images_of())
    assert record.spikes.sum() > 0
    for i, image in enumerate(images_of()):
        spikes, membranes = simulated(network, latency_by_hand(image, 7))
        assert record.spikes[:, i].tolist() == spikes
        torch.testing.assert_close(record.membrane[:, i], torch.tensor(membranes))


def test_a_network_that_codes_by_rate_does_what_a_simulation_by_hand_does():
    network = network_of("rate", threshold=0.2)
    record = network(images_of(), generator=seeded(5))
    trains = rate_spikes(images_of().flatten(1), 7, seeded(5))
    assert record.spikes.sum() > 0
    for i in range(4):
        spikes, membranes = simulated(network, trains[:, i].tolist())
        assert record.spikes[:, i].tolist() == spikes
        torch.testing.assert_close(record.membrane[:, i], torch.tensor(membranes))


@pytest.mark.parametrize("num_steps", [None, 1, 4])
def test_a_coded_image_equals_its_train(num_steps):
    network, steps = network_of("latency"), num_steps or 7
    by_itself, fed = network(images_of(), num_steps), network(snntorch_latency(images_of(), steps))
    assert len(by_itself.spikes) == steps
    assert torch.equal(by_itself.spikes, fed.spikes)
    assert torch.equal(by_itself.membrane, fed.membrane)
    network = network_of("rate")
    by_itself = network(images_of(), num_steps, seeded(2))
    fed = network(rate_spikes(images_of(), steps, seeded(2)))
    assert torch.equal(by_itself.membrane, fed.membrane)


@pytest.mark.parametrize("coding", ["constant", "latency", "rate"])
def test_images_with_steps_are_taken_as_they_are(coding):
    moving = torch.rand(7, 4, 2, 3, generator=seeded())
    assert torch.equal(network_of(coding)(moving).membrane, network_of("constant")(moving).membrane)


@pytest.mark.parametrize("coding", ["latency", "rate"])
def test_a_coded_network_learns(coding):
    network = network_of(coding)
    network(images_of(20), generator=seeded()).membrane.square().mean().backward()
    for parameter in network.parameters():
        assert parameter.grad.isfinite().all()
        assert parameter.grad.abs().sum() > 0


@pytest.mark.parametrize("coding", ["constant", "latency"])
def test_only_rate_coding_draws(coding):
    generator = seeded(4)
    before, default = generator.get_state(), torch.get_rng_state()
    network_of(coding)(images_of(), generator=generator)
    assert torch.equal(generator.get_state(), before)
    network_of("rate")(images_of(), generator=generator)
    assert not torch.equal(generator.get_state(), before)
    assert torch.equal(torch.get_rng_state(), default)


class Exported(nn.Module):
    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, image):
        return tuple(part for layer in trace(self.network, image) for part in layer)


@pytest.mark.slow
def test_a_network_that_codes_by_latency_is_exported_and_equal_in_onnx_runtime(caplog):
    network = network_of("latency", threshold=0.2)
    images = torch.cat([images_of(9), ALL_BYTES[:252].reshape(-1, 2, 3)])
    with caplog.at_level(logging.ERROR, "torch.onnx"):
        program = torch.onnx.export(
            Exported(network).eval().requires_grad_(False),
            (torch.zeros(2, 2, 3),),
            dynamo=True,
            opset_version=18,
            input_names=["image"],
            dynamic_shapes={"image": {0: torch.export.Dim("batch")}},
            verbose=False,
        )
    model = program.model_proto
    assert {entry.domain: entry.version for entry in model.opset_import}[""] == 18
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    hidden_spikes, _, spikes, membrane = session.run(None, {"image": images.numpy()})
    with torch.no_grad():
        record = network(images)
    assert record.spikes.sum() > 0
    assert np.array_equal(spikes, record.spikes)
    assert np.array_equal(hidden_spikes.sum(0), record.hidden_counts[0])
    np.testing.assert_allclose(membrane, record.membrane, atol=1e-6)
