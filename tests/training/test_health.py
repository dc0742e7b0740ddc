"""The health of a training, held against plain PyTorch."""

import math

import pytest
import torch

from lifline.data.images import LabelledImages
from lifline.errors import TrainingError
from lifline.models.model import new_network
from lifline.snn import reference
from lifline.training.fit import TrainingState, fit
from lifline.training.health import MAX_TRACED
from lifline.training.objective import make_loss
from tests.conftest import MNIST, changed, first

LAYERS = ["hidden_1", "hidden_2", "output"]


@pytest.fixture
def small(params):
    return changed(
        params,
        network={"layers": "30-20", "num_steps": 5, "threshold": 0.4},
        train={"epochs": 1, "batch_size": 100, "learning_rate": 0.002},
    )


@pytest.fixture
def images(training_images):
    images, labels = first(training_images, 600)
    return LabelledImages(images[:500], labels[:500]), LabelledImages(images[500:], labels[500:])


def trained(params, images, **options):
    state = TrainingState(new_network(params.network, MNIST, 0), 0)
    (report,) = fit(state, *images, params, **options)
    return state.network, report.health


def test_neurons_and_answers_are_counted_over_the_validation_images(small, images):
    network, health = trained(small, images)
    with torch.no_grad():
        record = network(images[1].images / 255)
    hidden = [counts.sum(0) for counts in record.hidden_counts]
    answers = record.spikes.sum(0)
    best = answers.sort(1, descending=True).values
    assert list(health.silent) == list(health.saturated) == LAYERS
    assert health.silent["hidden_1"] == pytest.approx((hidden[0] == 0).float().mean().item())
    assert 0 < health.silent["hidden_1"] < 1
    assert health.saturated["hidden_2"] == pytest.approx((hidden[1] >= 450).float().mean().item())
    assert health.silent_outputs == pytest.approx((answers.sum(1) == 0).float().mean().item())
    assert health.ties == pytest.approx(((best[:, 0] == best[:, 1]) & (best[:, 0] > 0)).float().mean().item())
    assert health.ties > 0


def test_gradients_are_those_of_the_last_batch(small, images):
    """Of a training with one batch, from the weights that it began with."""
    small = changed(small, train={"batch_size": 500})
    _, health = trained(small, images)
    network = new_network(small.network, MNIST, 0)
    training = images[0]
    make_loss(small.train)(network(training.images / 255), training.labels).backward()
    for layer, name in zip(network.layers, LAYERS, strict=True):
        squares = sum(parameter.grad.square().sum().item() for parameter in layer.parameters())
        assert health.gradient_norm[name] == pytest.approx(math.sqrt(squares), rel=1e-3)


def test_the_surrogate_lets_through_what_its_derivative_says(small, images):
    """Computed by the reference, layer by layer, for arctangent."""
    network, health = trained(small, images)
    inputs, num_steps = images[1].images[:MAX_TRACED] / 255, 5
    with torch.no_grad():
        for layer, name in zip(network.layers, LAYERS, strict=True):
            spikes, membrane = reference.lif(layer(inputs), 0.95, 0.4, num_steps, "atan", 0)
            derivative = 1 / (1 + (math.pi * (membrane - 0.4)) ** 2)
            assert health.gradient_passed[name] == pytest.approx(derivative.mean().item(), rel=1e-4)
            inputs, num_steps = spikes, None


def test_all_passes_with_straight_through(small, images):
    small = changed(small, network={"surrogate": "straight_through"})
    assert trained(small, images)[1].gradient_passed == dict.fromkeys(LAYERS, 1.0)


def test_updates_are_told_by_how_far_they_moved_the_weights(small, images):
    """In an epoch of five."""
    network, health = trained(small, images)
    before = new_network(small.network, MNIST, 0)
    for old, new, name in zip(before.layers, network.layers, LAYERS, strict=True):
        moved, length = 0.0, 0.0
        for one, two in zip(old.projection.parameters(), new.projection.parameters(), strict=True):
            moved += (two - one).square().sum().item()
            length += one.square().sum().item()
        assert health.update_ratio[name] == pytest.approx(math.sqrt(moved / length / 5), rel=1e-3)


def test_a_gradient_that_is_no_number_ends_a_training_whose_loss_does_not_show_it(small, images):
    """Neurons whose membrane is no number do not fire, and a loss of firing rates is finite."""
    small = changed(small, train={"loss": "rate_mse", "epochs": 2})

    def poison_the_last(step):
        if step.iteration == 5:
            with torch.no_grad():
                state.network.layers[0].projection.weight.fill_(torch.inf)

    state = TrainingState(new_network(small.network, MNIST, 0), 0)
    with pytest.raises(TrainingError, match=r"update ratio of hidden_1 is inf after epoch 1, .*learning_rate than"):
        list(fit(state, *images, small, poison_the_last))
