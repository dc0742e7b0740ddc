import pytest
import torch

from lifline.snn.trace import trace
from tests.conftest import changed, untrained


@pytest.mark.parametrize("values", [{}, {"hidden": [40, 30]}, {"spike_delay": 1}])
def test_a_trace_is_what_the_network_does(params, test_images, values):
    wanted = {"hidden": [40], "num_steps": 6, "threshold": 0.3} | values
    network = untrained(changed(params, network=wanted).network, seed=2).network
    images = test_images.images[:50] / 255
    with torch.no_grad():
        record, layers = network(images), trace(network, images)
    assert len(layers) == len(network.layers)
    torch.testing.assert_close(layers[-1].spikes, record.spikes, rtol=0, atol=0)
    torch.testing.assert_close(layers[-1].membrane, record.membrane)
    for layer, counts in zip(layers[:-1], record.hidden_counts, strict=True):
        assert counts.sum() > 0
        torch.testing.assert_close(layer.spikes.sum(0), counts, rtol=0, atol=0)
