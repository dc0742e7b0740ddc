from itertools import islice

import pytest
import torch

from lifline.data.images import split_training_images
from lifline.device import choose_device
from lifline.errors import TrainingError
from lifline.evaluation.evaluate import evaluate
from lifline.models.model import Model, new_network, save_model
from lifline.training.fit import TrainingState, fit
from lifline.training.optimizer import Adam, learning_rate_at
from tests.conftest import MNIST, changed, first


@pytest.fixture
def small(params):
    return changed(params, network={"layers": "50", "num_steps": 8}, train={"epochs": 2, "batch_size": 64})


@pytest.fixture
def images(training_images, params):
    split = split_training_images(first(training_images, 1500), changed(params, data={"validation_size": 500}).data)
    return split.training, split.validation


def fresh(params):
    return TrainingState(new_network(params.network, MNIST, params.train.seed), params.train.seed)


def evaluated(network, params, images):
    return evaluate(Model(network, params.network, MNIST), images)


def train(params, images, **options):
    state = fresh(params)
    reports = list(fit(state, *images, params, **options))
    return state.network, reports


def test_learns(small, images):
    small = changed(small, train={"learning_rate": 0.002, "epochs": 4})
    _, reports = train(small, images)
    assert reports[-1].validation_loss < reports[0].validation_loss
    assert reports[-1].validation_accuracy > 0.75
    assert reports[-1].train_accuracy > reports[0].train_accuracy


@pytest.mark.parametrize("loss", ["membrane_ce", "count_ce", "rate_mse"])
@pytest.mark.parametrize("decoding", ["rate_membrane"])
def test_every_loss_learns(small, images, loss, decoding):
    small = changed(small, train={"learning_rate": 0.002, "epochs": 3, "loss": loss}, network={"decoding": decoding})
    assert train(small, images)[1][-1].validation_accuracy > 0.7


def test_a_repeated_training_is_bit_equal(small, images, tmp_path):
    for name in ("one", "two"):
        network, reports = train(small, images)
        save_model(Model(network, small.network, MNIST), tmp_path / name)
        torch.rand(3)  # what else draws numbers does not matter
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert train(small, images)[1][-1].losses == reports[-1].losses
    assert train(changed(small, train={"seed": 1}), images)[1][-1].losses != reports[-1].losses


def test_adam_is_pytorchs(small):
    ours, theirs = new_network(small.network, MNIST, 0), new_network(small.network, MNIST, 0)
    our_adam, their_adam = Adam(ours), torch.optim.Adam(theirs.parameters(), lr=0.01)
    for seed in range(3):
        images = 2 * torch.rand(5, 1, 28, 28, generator=torch.Generator().manual_seed(seed))
        for network, step in ((ours, lambda: our_adam.step(0.01)), (theirs, their_adam.step)):
            network.zero_grad()
            network(images).membrane.square().mean().backward()
            step()
    for our, their in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(our, their)


@pytest.mark.parametrize("epochs", [1, 5])
def test_the_learning_rate_rises_and_falls(params, epochs):
    train = changed(
        params,
        train={"learning_rate": 0.01, "epochs": epochs, "warmup_epochs": 0.5, "schedule": "cosine"},
    ).train
    assert learning_rate_at(0.25, train) == pytest.approx(0.005)
    assert learning_rate_at(0.5, train) == pytest.approx(0.01)
    assert learning_rate_at((epochs + 0.5) / 2, train) == pytest.approx(0.005)
    assert learning_rate_at(epochs, train) == pytest.approx(0)
    assert learning_rate_at(epochs, train.model_copy(update={"schedule": "constant"})) == 0.01
    assert learning_rate_at(epochs, train.model_copy(update={"warmup_epochs": float(epochs)})) == pytest.approx(0)


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_the_optimizer_follows_the_schedule(small, images, schedule, monkeypatch):
    rates = []
    monkeypatch.setattr(Adam, "step", lambda self, learning_rate, _: rates.append(learning_rate))
    small = changed(small, train={"schedule": schedule, "warmup_epochs": 0.5, "learning_rate": 0.016})
    train(small, images)
    assert rates[:8] == pytest.approx([0.002 * i for i in range(1, 9)])  # 16 iterations an epoch
    assert len(rates) == 32
    assert rates[8:] == pytest.approx([0.016] * 24) if schedule == "constant" else rates[31] == pytest.approx(0)
    assert (rates[19] == pytest.approx(0.008)) == (schedule == "cosine")


def test_a_spike_penalty_makes_the_hidden_layer_fire_less(small, images):
    rates = []
    for penalty in (0.0, 10.0):
        penalized = changed(small, train={"spike_penalty": penalty, "learning_rate": 0.002})
        network, _ = train(penalized, images)
        rates.append(evaluated(network, small, images[1]).as_metrics().firing_rate["hidden_1"])
    assert 0 < rates[1] < 0.8 * rates[0]


def test_several_hidden_layers_learn(small, images):
    small = changed(small, network={"layers": "50-30"}, train={"learning_rate": 0.005, "epochs": 4})
    network, reports = train(small, images)
    assert reports[-1].validation_accuracy > 0.7
    assert set(evaluated(network, small, images[1]).spikes) == {
        "hidden_1",
        "hidden_2",
        "output",
    }


def test_augmentation_changes_what_is_learnt_from_alone(small, images, monkeypatch):
    seen = []
    monkeypatch.setattr("lifline.training.fit.augment", lambda images, *_: seen.append(len(images)) or images)
    plain = train(small, images)[0]
    assert sum(seen) == 2 * len(images[0].labels)  # no validation image is
    monkeypatch.undo()
    bent = train(changed(small, augmentation={"elastic": 1.0}), images)[0]
    assert not torch.equal(plain.layers[0].projection.weight, bent.layers[0].projection.weight)


ALL_STATE = {
    "train": {"epochs": 4, "warmup_epochs": 0.5, "schedule": "cosine", "loss": "rate_mse"},
    "augmentation": {"rotation": 5.0, "elastic": 0.5},
}


@pytest.mark.parametrize("centre_inputs", [False, True])
def test_a_restored_training_ends_bit_equal(small, images, centre_inputs):
    small = changed(small, train={"centre_inputs": centre_inputs})
    small = changed(small, **ALL_STATE)
    whole = fresh(small)
    list(fit(whole, *images, small))
    half, restored = fresh(small), fresh(small)
    list(islice(fit(half, *images, small), 2))
    kept = {name: tensor.clone() for name, tensor in half.tensors().items()}
    restored.restore(kept, half.reports)
    list(fit(restored, *images, small))
    assert [report.losses for report in restored.reports] == [report.losses for report in whole.reports]
    for name, tensor in whole.tensors().items():
        assert torch.equal(tensor, restored.tensors()[name]), name


def test_bf16_learns_as_fp32_does_with_weights_that_stay_fp32(small, images):
    (_, exact), (network, rounded) = (
        train(changed(small, train={"learning_rate": 0.002, "precision": precision}), images)
        for precision in ("fp32", "bf16")
    )
    assert rounded[-1].losses != exact[-1].losses
    assert rounded[-1].validation_accuracy == pytest.approx(exact[-1].validation_accuracy, abs=0.05)
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}


def test_reports_every_epoch_and_every_iteration(small, images):
    steps = []
    _, reports = train(small, images, on_step=steps.append)
    assert [report.epoch for report in reports] == [1, 2]
    assert [report.iteration for report in reports] == [16, 32]  # 1000 images: 15 batches of 64, one of 40
    assert [step.iteration for step in steps] == list(range(1, 33))
    assert [step.num_images for step in steps[:16]] == [64] * 15 + [40]
    assert reports[0].losses + reports[1].losses == [step.loss.item() for step in steps]
    assert reports[0].train_accuracy == sum(step.num_correct.item() for step in steps[:16]) / 1000
    assert reports[0].images_per_second == pytest.approx(1000 / reports[0].seconds)


def test_losses_compare_per_step(small, images):
    metrics = train(small, images)[1][0].as_metrics()
    assert metrics["validation"]["loss_per_step"] == pytest.approx(metrics["validation"]["loss"] / 8)
    metrics = train(changed(small, train={"loss": "count_ce"}), images)[1][0].as_metrics()
    assert metrics["validation"]["loss_per_step"] == metrics["validation"]["loss"]


def test_validation_is_that_of_the_network_as_it_is(small, images):
    network, reports = train(small, images)
    evaluation = evaluated(network, small, images[1])
    assert evaluation.accuracy(small.network.decoding) == reports[-1].validation_accuracy


def test_validation_images_teach_nothing(small, images, training_images):
    training, validation = images
    other = first(training_images, 10)
    for one, two in zip(
        train(small, (training, validation))[0].parameters(),
        train(small, (training, other))[0].parameters(),
        strict=True,
    ):
        assert torch.equal(one, two)


def test_the_caller_may_stop_after_any_epoch(small, images):
    small = changed(small, train={"epochs": 1000})
    reports = list(islice(fit(fresh(small), *images, small), 2))
    assert [report.epoch for report in reports] == [1, 2]


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_loss_that_is_not_finite_stops(small, images, value):
    state = fresh(small)

    def poison(step):
        if step.iteration == 12:
            with torch.no_grad():
                state.network.layers[1].projection.bias.fill_(value)

    with pytest.raises(TrainingError, match=r"loss is nan at iteration 13, .*learning_rate than 0\.0005"):
        list(fit(state, *images, small, poison))


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_validation_loss_that_is_not_finite_stops(small, images, value):
    state = fresh(small)

    def poison_the_last(step):
        if step.iteration == 16:
            with torch.no_grad():
                state.network.layers[1].projection.bias.fill_(value)

    with pytest.raises(TrainingError, match=r"the validation loss is nan after epoch 1, .*learning_rate than 0\.0005"):
        list(fit(state, *images, small, poison_the_last))


@pytest.mark.parametrize(
    ("iteration", "message"), [(5, "learned beta is nan after 5"), (16, "learned beta is nan after")]
)
def test_a_learned_decay_that_is_no_number_is_told_as_the_loss_is(small, images, iteration, message):
    """A membrane that runs away takes the decay's gradient, and then the decay, with it."""
    small = changed(small, network={"learn_beta": True})
    state = fresh(small)

    def poison(step):
        if step.iteration == iteration:
            with torch.no_grad():
                for layer in state.network.layers:
                    layer.beta_logit.fill_(torch.nan)
                    layer.projection.weight.fill_(torch.nan)

    with pytest.raises(TrainingError, match=rf"{message}.*learning_rate than 0\.0005"):
        list(fit(state, *images, small, poison))


def test_a_device_that_is_not_there_is_named():
    assert choose_device("cpu") == torch.device("cpu")
    if not torch.backends.mps.is_available():
        with pytest.raises(TrainingError, match=r"train\.device is mps, .*allowed here: auto"):
            choose_device("mps")


@pytest.mark.gpu
def test_a_training_on_the_gpu_learns_and_repeats(small, images):
    device = choose_device("cuda")
    outcomes = []
    for _ in range(2):
        small = changed(small, **ALL_STATE)
        state = TrainingState(new_network(small.network, MNIST, 0).to(device), small.train.seed)
        reports = list(fit(state, *(part.to(device) for part in images), small))
        outcomes.append(reports[-1].losses)
    assert outcomes[0] == outcomes[1]


@pytest.mark.gpu
def test_a_training_step_does_not_wait_for_the_gpu(small, images):
    device = choose_device("cuda")
    small = changed(small, **ALL_STATE)
    state = TrainingState(new_network(small.network, MNIST, 0).to(device), small.train.seed)

    def watch(step):
        torch.cuda.set_sync_debug_mode("error" if step.iteration < 15 else "default")

    try:
        list(fit(state, *(part.to(device) for part in images), small, watch))
    finally:
        torch.cuda.set_sync_debug_mode("default")
