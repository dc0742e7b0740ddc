import math

import pytest
import torch
from snntorch import functional as snntorch_functional

from lifline.snn import Record
from lifline.training.objective import make_loss
from tests.conftest import changed


@pytest.fixture
def record() -> Record:
    generator = torch.Generator().manual_seed(0)
    spikes = (torch.rand(7, 5, 4, generator=generator) > 0.5).float()
    return Record(spikes, torch.randn(7, 5, 4, generator=generator), [])


LABELS = torch.tensor([0, 1, 2, 3, 0])


def loss_of(params, name):
    return make_loss(changed(params, train={"loss": name, "correct_rate": 0.8, "incorrect_rate": 0.1}).train)


def test_membrane_ce_is_the_tutorials_sum_over_steps(params, record):
    expected = 0.0
    for membrane in record.membrane.tolist():
        for potentials, label in zip(membrane, LABELS.tolist(), strict=True):
            expected -= math.log(math.exp(potentials[label]) / sum(map(math.exp, potentials))) / len(LABELS)
    assert loss_of(params, "membrane_ce")(record, LABELS).item() == pytest.approx(expected, rel=1e-5)


def test_count_ce_is_cross_entropy_on_spike_counts(params, record):
    expected = snntorch_functional.ce_count_loss()(record.spikes, LABELS).item()
    assert loss_of(params, "count_ce")(record, LABELS).item() == pytest.approx(expected, rel=1e-5)


def test_rate_mse_is_the_squared_error_of_firing_rates(params, record):
    rates = record.spikes.mean(0)
    expected = 0.0
    for image, label in enumerate(LABELS.tolist()):
        for neuron in range(4):
            expected += (rates[image, neuron].item() - (0.8 if neuron == label else 0.1)) ** 2 / (5 * 4)
    assert loss_of(params, "rate_mse")(record, LABELS).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", ["membrane_ce", "count_ce", "rate_mse"])
def test_a_loss_is_a_mean_over_the_batch(params, record, name):
    loss = loss_of(params, name)
    whole = loss(record, LABELS).item()
    parts = [loss(Record(*(part[:, i : i + 1] for part in record[:2]), record[2]), LABELS[i : i + 1]) for i in range(5)]
    assert whole == pytest.approx(sum(part.item() for part in parts) / 5, rel=1e-5)


def test_a_spike_penalty_adds_the_mean_hidden_firing_rate(params, record):
    with_counts = record._replace(hidden_counts=[torch.tensor([[1.0, 0, 2]] * 5), torch.tensor([[3.0]] * 5)])
    plain = loss_of(params, "rate_mse")(with_counts, LABELS)
    penalized = make_loss(
        changed(params, train={"loss": "rate_mse", "incorrect_rate": 0.1, "spike_penalty": 2.0}).train
    )
    num_steps = len(record.spikes)
    assert penalized(with_counts, LABELS).item() == pytest.approx(plain.item() + 2 * (6 / 4) / num_steps, rel=1e-5)
