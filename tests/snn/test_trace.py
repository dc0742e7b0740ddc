import pytest
import torch

from lifline.snn import Lif, SpikingNetwork
from lifline.snn.trace import trace


@pytest.mark.parametrize("coding", ["constant", "latency", "rate"])
@pytest.mark.parametrize(("hidden", "spike_delay"), [([40], 0), ([40, 30], 0), ([40], 1)])
def test_a_trace_is_what_the_network_does(hidden, spike_delay, coding):
    network = SpikingNetwork([1, 8, 8], hidden, 10, Lif(0.95, 0.2, spike_delay=spike_delay), 6, seed=2, coding=coding)
    images = torch.rand(50, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        record = network(images, generator=torch.Generator().manual_seed(1))
        layers = trace(network, images, torch.Generator().manual_seed(1))
    assert len(layers) == len(network.layers)
    torch.testing.assert_close(layers[-1].spikes, record.spikes, rtol=0, atol=0)
    torch.testing.assert_close(layers[-1].membrane, record.membrane)
    for layer, counts in zip(layers[:-1], record.hidden_counts, strict=True):
        assert counts.sum() > 0
        torch.testing.assert_close(layer.spikes.sum(0), counts, rtol=0, atol=0)
