import pytest
import torch

from lifline.snn import Lif, SpikingNetwork
from lifline.snn.trace import trace


@pytest.mark.parametrize("coding", ["constant", "latency", "rate"])
@pytest.mark.parametrize(
    ("layers", "spike_delay"), [("40", 0), ("40-30", 0), ("40", 1), ("6C3-MP2-30", 0), ("5C3p1-AP2-4C3", 1)]
)
def test_a_trace_is_what_the_network_does(layers, spike_delay, coding):
    neuron = Lif(0.95, 0.2, spike_delay=spike_delay)
    network = SpikingNetwork.from_layers(layers, [1, 8, 8], 10, neuron, 6, seed=2, coding=coding)
    images = torch.rand(50, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        record = network(images, generator=torch.Generator().manual_seed(1))
        traces = trace(network, images, torch.Generator().manual_seed(1))
    assert len(traces) == len(network.layers)
    torch.testing.assert_close(traces[-1].spikes, record.spikes, rtol=0, atol=0)
    torch.testing.assert_close(traces[-1].membrane, record.membrane)
    for layer, counts in zip(traces[:-1], record.hidden_counts, strict=True):
        assert counts.sum() > 0
        torch.testing.assert_close(layer.spikes.sum(0).flatten(1), counts, rtol=0, atol=0)
