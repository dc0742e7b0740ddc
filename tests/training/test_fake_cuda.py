"""An epoch as a GPU would see it, without one: with fake tensors, what mixes devices or reads a value raises."""

import pytest
import torch
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from lifline.data import augmentation
from lifline.data.images import LabelledImages
from lifline.models.model import new_network
from lifline.training import fit
from lifline.training.centring import Centring
from lifline.training.objective import make_loss
from tests.conftest import MNIST, changed
from tests.snn.test_citizen import walk_back

BATCH, NUM_BATCHES = 8, 3
EVERYTHING = {"rotation": 8.0, "shift": 1.0, "elastic": 0.5, "flip": True}


def walk_back_into_leaves(loss):
    """What `loss.backward()` does."""
    leaves = {id(parameter): parameter for parameter in leaves_of(loss)}
    for number, gradient in walk_back([loss]).items():
        leaves[number].grad = gradient


def leaves_of(loss):
    unseen, seen = [loss.grad_fn], set()
    while unseen:
        node = unseen.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            yield node.variable
        unseen.extend(before for before, _ in node.next_functions)


@pytest.fixture(autouse=True)
def without_a_basis_of_another_kind():
    augmentation._basis.cache_clear()
    yield
    augmentation._basis.cache_clear()


def an_epoch(params, monkeypatch, on_step=lambda step: None):
    """Take the steps of a training's own epoch on images that are on CUDA, as all else is then."""
    monkeypatch.setattr(torch.Tensor, "backward", walk_back_into_leaves)
    for check in ("_check_finite", "_check_betas"):  # these wait, once an epoch
        monkeypatch.setattr(fit, check, lambda *_: None)
    params = changed(params, train={"batch_size": BATCH})
    with torch.device("cuda"):
        state = fit.TrainingState(new_network(params.network, MNIST, seed=0), seed=0)
    images = torch.zeros(BATCH * NUM_BATCHES, 1, 28, 28, dtype=torch.uint8, device="cuda")
    labels = torch.zeros(BATCH * NUM_BATCHES, dtype=torch.int64, device="cuda")
    centring = Centring(state.network, images) if params.train.centre_inputs else None
    loss = make_loss(params.train)
    return state, fit._epoch(state, LabelledImages(images, labels), params, loss, centring, on_step)


@pytest.mark.parametrize("loss", ["membrane_ce", "count_ce", "rate_ce", "rate_mse"])
@pytest.mark.parametrize("layers", ["30", "30-2000-20", "4C5-MP2-6C3p1-AP2-20", "4C5-MP2-6C3-MP2"])
def test_an_epoch_on_cuda_stays_on_the_device_and_waits_for_nothing(params, monkeypatch, layers, loss):
    params = changed(
        params,
        network={"layers": layers, "num_steps": 4, "learn_beta": True},
        train={"loss": loss, "spike_penalty": 0.1, "centre_inputs": True},
        augmentation=EVERYTHING,
    )
    with FakeTensorMode():
        state, steps = an_epoch(params, monkeypatch)
    assert [step.iteration for step in steps] == [1, 2, 3]
    assert all(each.device.type == "cuda" for step in steps for each in (step.loss, step.num_correct))
    for parameter in state.network.parameters():
        assert (parameter.grad.device, parameter.grad.shape) == (parameter.device, parameter.shape)


@pytest.mark.parametrize("network", [{"coding": "latency"}, {"num_steps": 1}])
def test_images_coded_by_latency_and_single_steps_stay_there_too(params, monkeypatch, network):
    params = changed(params, network={"layers": "30", "num_steps": 4} | network)
    with FakeTensorMode():
        _, steps = an_epoch(params, monkeypatch)
    assert all(step.loss.device.type == "cuda" for step in steps)


def test_what_waits_for_the_device_is_seen(params, monkeypatch):
    with FakeTensorMode(), pytest.raises(DataDependentOutputException):
        an_epoch(changed(params, network={"layers": "30", "num_steps": 4}), monkeypatch, lambda step: step.loss.item())
