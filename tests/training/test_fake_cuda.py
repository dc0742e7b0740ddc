"""A training step as a GPU would see it, without one: with fake tensors, what mixes devices or reads a value raises."""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from lifline.data import augmentation
from lifline.data.batches import as_input
from lifline.models.model import new_network
from lifline.snn import decode
from lifline.training.centring import Centring
from lifline.training.objective import make_loss
from lifline.training.optimizer import Adam
from tests.conftest import MNIST, changed
from tests.snn.test_citizen import walk_back

BATCH = 8


@pytest.mark.parametrize("loss", ["membrane_ce", "count_ce", "rate_ce", "rate_mse"])
@pytest.mark.parametrize("layers", ["30", "30-2000-20", "4C5-MP2-6C3p1-AP2-20", "4C5-MP2-6C3-MP2"])
def test_a_step_on_cuda_stays_on_the_device_and_waits_for_nothing(params, layers, loss):
    augmented = {"rotation": 8.0, "shift": 1.0, "elastic": 0.5, "flip": True}
    params = changed(
        params,
        network={"layers": layers, "num_steps": 4, "learn_beta": True},
        train={"loss": loss, "spike_penalty": 0.1},
        augmentation=augmented,
    )
    augmentation._basis.cache_clear()
    with FakeTensorMode():
        with torch.device("cuda"):
            network = new_network(params.network, MNIST, seed=0)
        adam = Adam(network)
        images = torch.zeros(BATCH, 1, 28, 28, dtype=torch.uint8, device="cuda")
        labels = torch.zeros(BATCH, dtype=torch.int64, device="cuda")
        shown = augmentation.augment(as_input(images), params.augmentation, torch.Generator())
        record = network(shown)
        value = make_loss(params.train)(record, labels)
        gradients = walk_back([value])
        for parameter in network.parameters():
            parameter.grad = gradients[id(parameter)]
            assert (parameter.grad.device, parameter.grad.shape) == (parameter.device, parameter.shape)
        adam.step(1e-3, Centring(network, images))
        num_correct = (decode(record, params.network.decoding) == labels).sum()
        assert all(each.device.type == "cuda" for each in (*record[:2], *record.hidden_counts, value, num_correct))
    augmentation._basis.cache_clear()
