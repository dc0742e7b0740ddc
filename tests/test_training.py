from itertools import islice

import pytest
import torch

from lifline.data.batches import split_off_validation
from lifline.device import choose_device
from lifline.errors import TrainingError
from lifline.evaluation import evaluate
from lifline.model_file import new_network, save_network
from lifline.training import Adam, fit
from tests.conftest import changed, first


@pytest.fixture
def small(params):
    return changed(params, network={"hidden": 50, "num_steps": 8}, train={"epochs": 2, "batch_size": 64})


@pytest.fixture
def images(training_images):
    return split_off_validation(first(training_images, 1500), 500)


def train(params, images, **options):
    network = new_network(params.network, params.train.seed)
    reports = list(fit(network, *images, params.train, params.network.decoding, **options))
    return network, reports


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
        save_network(network, small.network, tmp_path / name)
        torch.rand(3)  # what else draws numbers does not matter
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert train(small, images)[1][-1].losses == reports[-1].losses
    assert train(changed(small, train={"seed": 1}), images)[1][-1].losses != reports[-1].losses


def test_adam_is_pytorchs(small):
    ours, theirs = new_network(small.network, 0), new_network(small.network, 0)
    our_adam, their_adam = Adam(ours, 0.01), torch.optim.Adam(theirs.parameters(), lr=0.01)
    for seed in range(3):
        images = 2 * torch.rand(5, 784, generator=torch.Generator().manual_seed(seed))
        for network, adam in ((ours, our_adam), (theirs, their_adam)):
            network.zero_grad()
            network(images).membrane.square().mean().backward()
            adam.step()
    for our, their in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(our, their)


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
    evaluation = evaluate(network, images[1], small.network.decoding)
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
    network = new_network(small.network, 0)
    reports = list(islice(fit(network, *images, small.train, "rate"), 2))
    assert [report.epoch for report in reports] == [1, 2]


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_loss_that_is_not_finite_stops(small, images, value):
    network = new_network(small.network, 0)

    def poison(step):
        if step.iteration == 12:
            with torch.no_grad():
                network.fc2.bias.fill_(value)

    with pytest.raises(TrainingError, match=r"loss is nan at iteration 13, .*learning_rate than 0\.0005"):
        list(fit(network, *images, small.train, "rate", poison))


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_validation_loss_that_is_not_finite_stops(small, images, value):
    network = new_network(small.network, 0)

    def poison_the_last(step):
        if step.iteration == 16:
            with torch.no_grad():
                network.fc2.bias.fill_(value)

    with pytest.raises(TrainingError, match=r"the validation loss is nan after epoch 1, .*learning_rate than 0\.0005"):
        list(fit(network, *images, small.train, "rate", poison_the_last))


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
        network = new_network(small.network, 0).to(device)
        reports = list(fit(network, *(part.to(device) for part in images), small.train, "rate"))
        outcomes.append(reports[-1].losses)
    assert outcomes[0] == outcomes[1]


@pytest.mark.gpu
def test_a_training_step_does_not_wait_for_the_gpu(small, images):
    device = choose_device("cuda")
    network = new_network(small.network, 0).to(device)

    def watch(step):
        torch.cuda.set_sync_debug_mode("error" if step.iteration < 15 else "default")

    try:
        list(fit(network, *(part.to(device) for part in images), small.train, "rate", watch))
    finally:
        torch.cuda.set_sync_debug_mode("default")
