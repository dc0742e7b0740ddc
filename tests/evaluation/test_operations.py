"""Counts of operations, by NeuroBench's own harness on the same network."""

import pytest
import snntorch
import torch
from neurobench.benchmarks import Benchmark
from neurobench.metrics.static import ConnectionSparsity, Footprint
from neurobench.metrics.workload import ActivationSparsity, SynapticOperations
from neurobench.models import NeuroBenchModel
from torch import nn
from torch.nn.functional import max_pool2d
from torch.utils.data import DataLoader, TensorDataset

from lifline.data.batches import as_input
from lifline.evaluation.evaluate import evaluate
from lifline.models.model import run_over
from lifline.snn.layer import Spikes
from tests.conftest import changed, first, untrained

NUM_IMAGES = 40


class Stepwise(nn.Module):
    """A network as the harness can watch it: modules that are called at each step, with snnTorch's neurons.

    What it sees of a constant image is called once, as lifline computes it.
    """

    def __init__(self, network):
        super().__init__()
        self.projections = nn.ModuleList(layer.projection for layer in network.layers)
        self.neurons = nn.ModuleList(
            snntorch.Leaky(
                beta=layer.neuron.beta,
                threshold=layer.neuron.threshold,
                reset_mechanism="subtract",
                reset_delay=True,
            )
            for layer in network.layers
        )
        self.layers, self.num_steps = list(network.layers), network.num_steps

    def forward(self, inputs):
        """Spikes `[T, B, C]` for images `[B, C, H, W]`, or for spikes of each step."""
        sees_image = inputs.dim() == 4
        current = self._current(0, inputs) if sees_image else None
        membranes = [torch.zeros(()) for _ in self.layers]
        outputs = []
        for step in range(self.num_steps):
            spikes = None
            for i, neuron in enumerate(self.neurons):
                seen = inputs[step] if i == 0 and not sees_image else spikes
                now = current if i == 0 and sees_image else self._current(i, seen)
                spikes, membranes[i] = neuron(now, membranes[i])
            outputs.append(spikes)
        return torch.stack(outputs)

    def _current(self, i, inputs):
        layer = self.layers[i]
        is_dense = len(layer.projected_shape) == 1
        current = self.projections[i](inputs.flatten(1) if is_dense else inputs.view(-1, *layer.input_shape))
        return max_pool2d(current, layer.layer.pooling.size) if layer.layer.pooling else current


class Harnessed(NeuroBenchModel):
    """A network as the harness takes it."""

    def __init__(self, network):
        super().__init__()
        self.network = network
        self.add_activation_module(snntorch.SpikingNeuron)

    def __call__(self, batch):
        """For images `[B, C, H, W]`, or spikes `[B, T, C, H, W]`."""
        return self.network(batch if batch.dim() == 4 else batch.transpose(0, 1))

    def __net__(self):
        return self.network


@torch.no_grad()
def harness(model, data):
    """What the harness counts of a network and what it is shown."""
    inputs = torch.cat(
        [
            look.inputs if model.network.coding == "constant" else look.inputs.transpose(0, 1)
            for look in run_over(model.network, data)
        ]
    )
    batches = DataLoader(TensorDataset(inputs, data.labels), batch_size=NUM_IMAGES // 2)
    watched = Harnessed(Stepwise(model.network))
    counted = Benchmark(watched, batches, [], [], [[], [SynapticOperations, ActivationSparsity]]).run(quiet=True)
    alone = Harnessed(model.network)  # without the buffers of snnTorch's neurons
    return counted | {metric.__name__: metric()(alone) for metric in (Footprint, ConnectionSparsity)}


NETWORKS = {
    "fully connected": {"layers": "60-30", "num_steps": 5, "threshold": 0.2},
    "convolutional": {"layers": "3C3p1-MP2-4C5-20", "num_steps": 4, "threshold": 0.1},
    "of one step": {"layers": "60", "num_steps": 1, "threshold": 0.2},
    "of coded images": {"layers": "2C3p2-30", "num_steps": 6, "threshold": 0.2, "coding": "latency"},
}


@pytest.mark.parametrize("name", NETWORKS)
def test_counts_are_neurobenchs_to_the_last_operation(params, test_images, name):
    model = untrained(changed(params, network=NETWORKS[name]).network, seed=1)
    with torch.no_grad():  # some weights of 0, which it does not count
        for layer in model.network.layers:
            layer.projection.weight[layer.projection.weight.abs() < 0.01] = 0
    data = first(test_images, NUM_IMAGES)
    counted, expected = evaluate(model, data).operations(), harness(model, data)
    assert counted.effective_acs * NUM_IMAGES == pytest.approx(
        expected["SynapticOperations"]["Effective_ACs"] * NUM_IMAGES, abs=1e-6
    )
    assert counted.effective_macs == pytest.approx(expected["SynapticOperations"]["Effective_MACs"], abs=1e-6)
    assert counted.dense == expected["SynapticOperations"]["Dense"]
    assert counted.footprint_bytes == expected["Footprint"]
    assert counted.connection_sparsity == pytest.approx(expected["ConnectionSparsity"], abs=5.1e-5)  # it rounds
    assert counted.activation_sparsity == pytest.approx(expected["ActivationSparsity"], abs=1e-12)
    assert counted.effective_acs > 0
    assert (counted.effective_macs > 0) == (model.network.coding == "constant")
    assert 0 < counted.connection_sparsity < 0.5
    assert 0 < counted.activation_sparsity < 1


@torch.no_grad()
def test_the_harness_sees_the_spikes_of_a_network_itself(params, test_images):
    model = untrained(changed(params, network=NETWORKS["convolutional"]).network, seed=1)
    data = first(test_images, NUM_IMAGES)
    batches = DataLoader(TensorDataset(as_input(data.images), data.labels), batch_size=NUM_IMAGES // 2)

    class Decided(Harnessed):
        def __call__(self, batch):
            return self.network(batch).spikes

    harnessed = Decided(model.network)
    harnessed.add_activation_module(Spikes)
    seen = Benchmark(harnessed, batches, [], [], [[], [ActivationSparsity]]).run(quiet=True)
    assert seen["ActivationSparsity"] == pytest.approx(
        evaluate(model, data).operations().activation_sparsity, abs=1e-12
    )
