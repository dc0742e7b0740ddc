"""Oracle: PyTorch's Adam on a network whose first layer is shown the images, padded, less their mean."""

from copy import deepcopy

import pytest
import torch
from torch import nn

from lifline.data.batches import as_input
from lifline.data.images import LabelledImages
from lifline.snn.loss import rate_mse
from lifline.snn.network import SpikingNetwork
from lifline.snn.neuron import Lif
from lifline.training.centring import Centring
from lifline.training.fit import fit, new_training
from lifline.training.objective import make_loss
from lifline.training.optimizer import Adam
from tests.conftest import MNIST, changed

LEARNING_RATE = 1e-3
NUM_STEPS = 5


class Less(nn.Module):
    """Takes a mean from what a layer is shown."""

    def __init__(self, mean):
        super().__init__()
        self.mean = mean

    def forward(self, images):
        return images - self.mean


def network_of(layers):
    torch.manual_seed(0)
    return SpikingNetwork.from_layers(layers, (2, 12, 12), 3, Lif(beta=0.9), 6)


@pytest.fixture
def images():
    """Bright at the bottom, and in one of two channels."""
    noise = torch.randint(0, 100, (40, 2, 12, 12), generator=torch.Generator().manual_seed(1))
    return (noise + 10 * torch.arange(12).view(12, 1) + 30 * torch.arange(2).view(2, 1, 1)).to(torch.uint8)


@pytest.mark.parametrize(("layers", "of_all"), [("20", (0,)), ("4C3-MP2-10", (0, 2, 3)), ("4C3p2", (0, 2, 3))])
def test_equals_adam_on_images_less_their_mean(images, layers, of_all):
    inputs, labels = as_input(images), torch.arange(40) % 3
    network, oracle = network_of(layers), network_of(layers)
    first = oracle.layers[0].projection
    mean = inputs.mean(of_all, keepdim=True)[0]
    mean = mean.flatten() if isinstance(first, nn.Linear) else mean
    padding = 2 if layers == "4C3p2" else 0
    first.padding = (0, 0)
    oracle.layers[0].projection = nn.Sequential(nn.ZeroPad2d(padding) if padding else nn.Identity(), Less(mean), first)
    of_oracle = torch.optim.Adam(oracle.parameters(), lr=LEARNING_RATE)
    centring, of_network = Centring(network, images), Adam(network)
    centring.start()
    for _ in range(NUM_STEPS):
        for each, step in (
            (oracle, of_oracle.step),
            (network, lambda: of_network.step(LEARNING_RATE, centring)),
        ):
            each.zero_grad()
            rate_mse(each(inputs), labels, 0.8, 0.0).backward()
            step()
    shift = (first.weight * mean).flatten(1).sum(1)
    projection = network.layers[0].projection
    torch.testing.assert_close(projection.weight, first.weight, rtol=0, atol=2e-5)
    torch.testing.assert_close(projection.bias, first.bias - shift, rtol=0, atol=2e-5)
    for ours, theirs in zip(list(network.parameters())[2:], list(oracle.parameters())[2:], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=2e-5)


def test_fit_begins_with_the_bias_for_centred_images_and_steps_so(params):
    """Oracle: one step of PyTorch's Adam on a network that is shown the images less their mean."""
    noise = torch.randint(0, 60, (40, 1, 28, 28), generator=torch.Generator().manual_seed(1))
    data = LabelledImages((noise + 6 * torch.arange(28)).to(torch.uint8), torch.arange(40) % 10)
    params = changed(
        params,
        network={"layers": "20", "num_steps": 6},
        augmentation=dict.fromkeys(["rotation", "scale", "shear", "shift", "elastic"], 0.0),
        train={"centre_inputs": True, "batch_size": 40, "epochs": 1, "warmup_epochs": 0.0, "schedule": "constant"},
    )
    state = new_training(params, MNIST, torch.device("cpu"))
    oracle = deepcopy(state.network)
    (report,) = fit(state, data, data, params)
    first = oracle.layers[0].projection
    mean = as_input(data.images).mean(0).flatten()
    oracle.layers[0].projection = nn.Sequential(Less(mean), first)
    loss = make_loss(params.train)(oracle(as_input(data.images)), data.labels)
    loss.backward()
    torch.optim.Adam(oracle.parameters(), lr=params.train.learning_rate).step()
    assert report.losses == pytest.approx([loss.item()], rel=1e-4)
    projection = state.network.layers[0].projection
    torch.testing.assert_close(projection.weight, first.weight, rtol=0, atol=2e-5)
    torch.testing.assert_close(projection.bias, first.bias - first.weight @ mean, rtol=0, atol=2e-4)
