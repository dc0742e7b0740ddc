import pytest
import torch

from lifline.evaluation.evaluate import evaluate, evaluate_by_num_steps, mistakes
from lifline.models import new_network
from lifline.snn import Record, decode, lif
from lifline.snn.decoding import DECODINGS
from tests.conftest import changed, first


@pytest.fixture
def network(params):
    return new_network(changed(params, network={"hidden": [40], "num_steps": 6, "threshold": 1.5}).network, seed=2)


def test_counts_as_a_look_at_each_image_alone(network, test_images):
    data = first(test_images, 1203)  # two full batches and a part
    metrics = evaluate(network, data, "rate").as_metrics()

    with torch.no_grad():
        record = network(data.images.flatten(1) / 255)
    counts = record.hidden_counts[0].double()
    correct = {
        how: sum(
            int(decode(Record(record.spikes[:, [i]], record.membrane[:, [i]], []), how) == data.labels[i])
            for i in range(1203)
        )
        for how in DECODINGS
    }
    assert metrics["total"] == 1203
    assert metrics["correct"] == correct["rate"]
    assert metrics["accuracy"] == correct["rate"] / 1203
    assert metrics["accuracy_by_decoding"] == {how: count / 1203 for how, count in correct.items()}
    assert metrics["spikes_per_image"]["hidden_1"] == pytest.approx(counts.sum(1).mean().item())
    assert metrics["firing_rate"]["hidden_1"] == pytest.approx(counts.mean().item() / 6, rel=1e-5)
    assert metrics["firing_rate"]["output"] == pytest.approx(record.spikes.mean().item(), rel=1e-5)
    assert metrics["synaptic_operations_per_image"] == pytest.approx(10 * counts.sum(1).mean().item())
    assert metrics["multiply_accumulates_per_image"] == 784 * 40
    picojoules = 784 * 40 * 4.6 + metrics["synaptic_operations_per_image"] * 0.9
    assert metrics["energy_nanojoules_per_image"] == pytest.approx(picojoules / 1000)
    assert sum(
        metrics["accuracy_by_class"][str(label)] * (data.labels == label).sum().item() for label in range(10)
    ) == pytest.approx(correct["rate"])
    assert metrics["silent_hidden_neurons"] == (counts.sum(0) == 0).sum().item() / 40
    assert 0 < metrics["silent_hidden_neurons"] < 1


def test_a_neuron_without_input_is_silent(network, test_images):
    with torch.no_grad():
        network.layers[0].weight[:10] = 0
        network.layers[0].bias[:10] = 0
    evaluation = evaluate(network, first(test_images, 100), "rate")
    assert (evaluation.spikes["hidden_1"][:10] == 0).all()


def test_evaluation_leaves_the_network_as_it_was(network, test_images):
    before = {name: value.clone() for name, value in network.state_dict().items()}
    evaluate(network, first(test_images, 100), "rate")
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())


def test_stopped_sooner_it_is_what_the_whole_run_had_been_till_then(network, test_images):
    data = first(test_images, 300)
    stopped = evaluate_by_num_steps(network, data, "rate")
    with torch.no_grad():
        images = data.images.flatten(1) / 255
        record = network(images)
        hidden_spikes, _ = lif(network.layers[0](images), num_steps=6, **network.neuron)
    assert [evaluation.num_steps for evaluation in stopped] == [1, 2, 3, 4, 5, 6]
    for evaluation in stopped:
        steps = evaluation.num_steps
        point = evaluation.as_point()
        assert torch.equal(evaluation.predictions["rate"], record.spikes[:steps].sum(0).argmax(1))
        hidden, output = hidden_spikes[:steps].sum().item() / 300, record.spikes[:steps].sum().item() / 300
        assert point["spikes_per_image"] == pytest.approx(hidden + output)
        assert point["synaptic_operations_per_image"] == pytest.approx(10 * hidden)
        assert point["accuracy"] == evaluation.accuracy("rate")


def test_many_steps_are_stopped_at_some_of_them(params, test_images):
    network = new_network(changed(params, network={"hidden": [5], "num_steps": 60}).network, seed=2)
    stops = [evaluation.num_steps for evaluation in evaluate_by_num_steps(network, first(test_images, 2), "rate")]
    assert len(stops) == 25
    assert stops[-1] == 60


def test_every_layer_is_counted_with_its_own_fan_out(params, test_images):
    network = new_network(changed(params, network={"hidden": [30, 20], "num_steps": 6, "threshold": 0.1}).network, 1)
    metrics = evaluate(network, first(test_images, 100), "rate").as_metrics()
    spikes = metrics["spikes_per_image"]
    assert spikes["hidden_1"] > 0
    assert spikes["hidden_2"] > 0
    expected = 20 * spikes["hidden_1"] + 10 * spikes["hidden_2"]
    assert metrics["synaptic_operations_per_image"] == pytest.approx(expected)


def test_firing_rates_are_counted_in_bins(network, test_images):
    evaluation = evaluate(network, first(test_images, 300), "rate")
    bins = list(evaluation.firing_rate_histogram())
    rates = evaluation.spikes["hidden_1"].double() / (300 * 6)
    assert sum(each["output"] for each in bins) == pytest.approx(1)
    for each in bins:
        low, high = each["firing_rate"] - 0.01, each["firing_rate"] + 0.01
        inside = ((rates >= low - 1e-12) & (rates < high - 1e-12)).sum().item()
        assert each["hidden_1"] == pytest.approx(inside / 40)


def test_mistakes_are_those_images_that_are_decided_wrong_the_most_confident_first(params, test_images):
    network = new_network(changed(params, network={"hidden": [40], "num_steps": 6, "threshold": 0.3}).network, seed=2)
    data = first(test_images, 1203)
    evaluation = evaluate(network, data, "rate")
    found = mistakes(network, data, evaluation)
    assert len(found) == 1203 - evaluation.as_metrics()["correct"] > 0
    confidences = [mistake.confidence for mistake in found]
    assert confidences == sorted(confidences, reverse=True)
    assert confidences[0] > confidences[-1] >= 0
    for mistake in (found[0], found[-1]):
        with torch.no_grad():
            counts = network(mistake.image.flatten()[None] / 255).spikes.sum(0)[0]
        assert mistake.label != mistake.decided == counts.argmax()
        assert mistake.confidence == pytest.approx(counts.max().item() / max(1, counts.sum().item()))
