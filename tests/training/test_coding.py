"""Training on coded images: what is drawn, and from where."""

from itertools import islice
from pathlib import Path

import pytest
import torch

from lifline.data.images import LabelledImages
from lifline.models.model import CODING_SEED
from lifline.params import read_params
from lifline.snn import Lif, SpikingNetwork
from lifline.training.fit import TrainingState, fit
from lifline.training.objective import make_loss
from lifline.training.validation import validate

CODINGS = ["constant", "latency", "rate"]
ROOT = Path(__file__).parents[2]


def small(coding, **values):
    train = {"epochs": 2, "batch_size": 16, "learning_rate": 0.01, "warmup_epochs": 0.0}
    return read_params(ROOT / "params.yaml").with_values(
        {f"train.{name}": value for name, value in (train | values).items()} | {"network.coding": coding}
    )


def labelled(count, seed=0):
    """Images of a bright half, above or below: two classes, which any network learns."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 120, (count, 1, 6, 6), generator=generator)
    labels = torch.arange(count) % 2
    for label in (0, 1):
        images[labels == label, :, 3 * label : 3 * label + 3] += 120
    return LabelledImages(images.to(torch.uint8), labels)


def fresh(params):
    network = SpikingNetwork.from_layers("12", [1, 6, 6], 2, Lif(0.9, 0.5), 8, params.train.seed, params.network.coding)
    return TrainingState(network, params.train.seed)


def trained(params, num_epochs=None):
    state = fresh(params)
    return state, list(islice(fit(state, labelled(100), labelled(40, 1), params), num_epochs))


@pytest.mark.parametrize("coding", CODINGS)
def test_every_coding_learns(coding):
    _, reports = trained(small(coding, epochs=6))
    assert reports[-1].validation_accuracy > 0.9


@pytest.mark.parametrize("coding", CODINGS)
def test_a_repeated_training_is_bit_equal_and_another_seeds_is_not(coding):
    (one, reports), _, (two, again) = trained(small(coding)), torch.rand(3), trained(small(coding))
    assert [report.losses for report in reports] == [report.losses for report in again]
    assert [report.validation_loss for report in reports] == [report.validation_loss for report in again]
    for name, tensor in one.tensors().items():
        assert torch.equal(tensor, two.tensors()[name]), name
    assert trained(small(coding, seed=1))[1][0].losses != reports[0].losses


def test_a_restored_training_by_rate_ends_bit_equal():
    params = small("rate", epochs=4)
    whole, _ = trained(params)
    half, restored = trained(params, num_epochs=2)[0], fresh(params)
    restored.restore({name: tensor.clone() for name, tensor in half.tensors().items()}, half.reports)
    list(fit(restored, labelled(100), labelled(40, 1), params))
    assert [report.losses for report in restored.reports] == [report.losses for report in whole.reports]


def test_only_rate_coding_draws_beside_order_and_augmentation():
    constant, latency, rate = (trained(small(coding))[0].generator.get_state() for coding in CODINGS)
    assert torch.equal(constant, latency)
    assert not torch.equal(constant, rate)


def test_each_batch_is_drawn_anew(monkeypatch):
    seeds = []
    call = SpikingNetwork.encode

    def noted(network, images, num_steps=None, generator=None):
        seeds.append(generator.initial_seed())
        return call(network, images, num_steps, generator)

    monkeypatch.setattr(SpikingNetwork, "encode", noted)
    trained(small("rate"))
    epochs = [seeds[:9], seeds[9:]]  # of 7 batches, a validation and a look at the network's health
    of_batches = [seed for epoch in epochs for seed in epoch[:7]]
    assert len(set(of_batches)) == 14
    assert {seed for epoch in epochs for seed in epoch[7:]} == {CODING_SEED}


@pytest.mark.parametrize("coding", CODINGS)
def test_validation_is_the_same_on_a_repeat_and_leaves_no_trace(coding):
    params = small(coding)
    network = fresh(params).network
    before = torch.get_rng_state()
    one, two = (validate(network, labelled(700), make_loss(params.train), "rate") for _ in range(2))
    assert one == two
    assert torch.equal(torch.get_rng_state(), before)
    assert all(parameter.grad is None for parameter in network.parameters())
