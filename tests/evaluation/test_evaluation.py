import pytest
import torch
from torch.nn.functional import conv2d

from lifline.data.images import LabelledImages
from lifline.evaluation.evaluate import evaluate, evaluate_by_num_steps, mistakes
from lifline.models.model import run_over
from lifline.snn import Record, decode, lif
from lifline.snn.decoding import DECODINGS
from lifline.snn.trace import trace
from tests.conftest import changed, first, untrained


@pytest.fixture
def model(params):
    return untrained(changed(params, network={"layers": "40", "num_steps": 6, "threshold": 1.5}).network, seed=2)


def test_counts_as_a_look_at_each_image_alone(model, test_images):
    data = first(test_images, 1203)  # two full batches and a part
    metrics = evaluate(model, data).as_metrics().model_dump()

    with torch.no_grad():
        record = model.network(data.images / 255)
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
    assert metrics["silent_neurons"]["hidden_1"] == metrics["silent_hidden_neurons"]
    assert metrics["saturated_neurons"]["hidden_1"] == (counts.sum(0) >= 0.9 * 6 * 1203).sum().item() / 40
    answers = record.spikes.sum(0)
    most = answers.amax(1, keepdim=True)
    assert metrics["silent_outputs"] == (answers.sum(1) == 0).sum().item() / 1203
    assert metrics["ties"] == (((answers == most).sum(1) > 1) & (answers.sum(1) > 0)).sum().item() / 1203


def test_a_neuron_without_input_is_silent(model, test_images):
    with torch.no_grad():
        model.network.layers[0].projection.weight[:10] = 0
        model.network.layers[0].projection.bias[:10] = 0
    evaluation = evaluate(model, first(test_images, 100))
    assert (evaluation.spikes["hidden_1"][:10] == 0).all()


def test_evaluation_leaves_the_network_as_it_was(model, test_images):
    before = {name: value.clone() for name, value in model.network.state_dict().items()}
    evaluate(model, first(test_images, 100))
    assert all(torch.equal(value, before[name]) for name, value in model.network.state_dict().items())
    assert all(parameter.grad is None for parameter in model.network.parameters())


def test_stopped_sooner_it_is_what_the_whole_run_had_been_till_then(model, test_images):
    data = first(test_images, 300)
    stopped = evaluate_by_num_steps(model, data)
    with torch.no_grad():
        images = data.images / 255
        record = model.network(images)
        hidden = model.network.layers[0]
        hidden_spikes, _ = lif(hidden(images), num_steps=6, **vars(hidden.neuron))
    assert [evaluation.num_steps for evaluation in stopped] == [1, 2, 3, 4, 5, 6]
    for evaluation in stopped:
        steps = evaluation.num_steps
        point = evaluation.as_stop().model_dump()
        assert torch.equal(evaluation.predictions["rate"], record.spikes[:steps].sum(0).argmax(1))
        hidden, output = hidden_spikes[:steps].sum().item() / 300, record.spikes[:steps].sum().item() / 300
        assert point["spikes_per_image"] == pytest.approx(hidden + output)
        assert point["synaptic_operations_per_image"] == pytest.approx(10 * hidden)
        assert point["accuracy"] == evaluation.accuracy("rate")


def test_many_steps_are_stopped_at_some_of_them(params, test_images):
    model = untrained(changed(params, network={"layers": "5", "num_steps": 60}).network, seed=2)
    stops = [evaluation.num_steps for evaluation in evaluate_by_num_steps(model, first(test_images, 2))]
    assert len(stops) == 10
    assert stops[-1] == 60


def test_every_layer_is_counted_with_its_own_fan_out(params, test_images):
    model = untrained(changed(params, network={"layers": "30-20", "num_steps": 6, "threshold": 0.1}).network, seed=1)
    metrics = evaluate(model, first(test_images, 100)).as_metrics().model_dump()
    spikes = metrics["spikes_per_image"]
    assert spikes["hidden_1"] > 0
    assert spikes["hidden_2"] > 0
    expected = 20 * spikes["hidden_1"] + 10 * spikes["hidden_2"]
    assert metrics["synaptic_operations_per_image"] == pytest.approx(expected)


def test_three_lines_of_energy_are_of_the_same_counts(model, test_images):
    """The first layer is the same for both networks; hand-computed constants are in `test_energy`."""
    data = first(test_images, 300)
    evaluation = evaluate(model, data)
    metrics, energy = evaluation.as_metrics(), evaluation.energy()
    every, skipped = energy.all_values, energy.zeros_skipped
    assert metrics.energy_nanojoules_per_image == every.float_arithmetic
    assert metrics.energy_with_memory_nanojoules_per_image == every.spiking.total
    assert metrics.energy_of_quantised_network_nanojoules_per_image == every.quantised.total
    assert metrics.energy_with_zeros_skipped_nanojoules_per_image == skipped.spiking.total
    assert metrics.energy_of_quantised_network_with_zeros_skipped_nanojoules_per_image == skipped.quantised.total
    num_zero_pixels = 784 - (data.images > 0).sum().item() / 300
    for lines, other in ((every.spiking, skipped.spiking), (every.quantised, skipped.quantised)):
        assert lines.memory > other.memory > 0
        assert lines.arithmetic > other.arithmetic > 0
    assert every.spiking.arithmetic - skipped.spiking.arithmetic == pytest.approx(num_zero_pixels * 40 * 0.3 / 1000)
    with torch.no_grad():
        silent = (model.network(data.images / 255).hidden_counts[0] == 0).sum().item() / 300
    of_silent = silent * 10 * (0.2 * 3 / 8 + 0.1)  # of up to 6 spikes, three bits
    assert every.quantised.arithmetic - skipped.quantised.arithmetic == pytest.approx(
        (num_zero_pixels * 40 * 0.3 + of_silent) / 1000
    )


def test_synapses_of_convolutions_are_counted_one_by_one(params, test_images):
    """A spike is sent to each value of the convolution in which it is multiplied; edges reach fewer."""
    network = {"layers": "3C3p1-MP2-4C5-7", "num_steps": 5, "threshold": 0.1}
    model = untrained(changed(params, network=network).network, seed=1)
    data = first(test_images, 20)
    metrics = evaluate(model, data).as_metrics()
    with torch.no_grad():
        one, two, _, _ = trace(model.network, data.images / 255)
    assert two.spikes.sum() > 0
    of_conv = conv2d(one.spikes.sum((0, 1))[None], torch.ones(4, 3, 5, 5)).sum().item()
    spikes = metrics.spikes_per_image
    expected = of_conv / 20 + 7 * spikes["hidden_2"] + 10 * spikes["hidden_3"]
    assert metrics.synaptic_operations_per_image == pytest.approx(expected)
    products = conv2d(torch.ones(1, 1, 28, 28), torch.ones(3, 1, 3, 3), padding=1)
    assert metrics.multiply_accumulates_per_image == products.sum()


def coded(params, coding, **network):
    values = {"layers": "30-20", "num_steps": 8, "threshold": 0.3, "coding": coding} | network
    return untrained(changed(params, network=values).network, seed=1)


def shown_to(model, data):
    """The spikes of all images as a network is shown them, `[T, B, N]`."""
    return torch.cat([look.inputs for look in run_over(model.network, data)], dim=1)


@pytest.mark.parametrize("coding", ["latency", "rate"])
def test_spikes_of_coded_images_are_counted_in_place_of_products(params, test_images, coding):
    model, data = coded(params, coding), first(test_images, 600)
    metrics = evaluate(model, data).as_metrics()
    input_spikes = (shown_to(model, data) == 1).sum().item() / 600
    assert input_spikes > 50
    spikes = metrics.spikes_per_image
    operations = 30 * input_spikes + 20 * spikes["hidden_1"] + 10 * spikes["hidden_2"]
    assert metrics.multiply_accumulates_per_image == 0
    assert metrics.synaptic_operations_per_image == pytest.approx(operations)
    assert metrics.energy_nanojoules_per_image == pytest.approx(operations * 0.9 / 1000)


@pytest.mark.parametrize("coding", ["constant", "latency", "rate"])
def test_a_network_that_is_stopped_has_seen_the_first_steps_of_all(params, test_images, coding):
    model, data = coded(params, coding), first(test_images, 600)
    looks = list(run_over(model.network, data))
    for num_steps in (1, 3, 8):
        stopped = evaluate(model, data, num_steps)
        spikes = torch.cat([look.record.spikes for look in looks], dim=1)[:num_steps]
        assert torch.equal(stopped.predictions["rate"], spikes.sum(0).argmax(1))
        if coding != "constant":
            sooner = shown_to(model, data)[:num_steps].sum((0, 1)).flatten()
            assert stopped.activities[0].counts.tolist() == sooner.tolist()


@pytest.mark.parametrize("coding", ["constant", "latency", "rate"])
def test_a_repeat_gives_the_same(params, test_images, coding):
    model, data = coded(params, coding), first(test_images, 600)
    one, _, two = evaluate(model, data), torch.rand(3), evaluate(model, data)
    assert one.as_metrics() == two.as_metrics()
    assert torch.equal(one.confidences, two.confidences)


def test_large_images_are_shown_in_small_batches(params, monkeypatch):
    monkeypatch.setattr("lifline.models.model.MAX_VALUES", 10_000)
    model = coded(params, "rate")
    data = LabelledImages(torch.zeros(5, 1, 28, 28, dtype=torch.uint8), torch.zeros(5, dtype=torch.int64))
    assert [len(look.labels) for look in run_over(model.network, data)] == [1] * 5
    assert len(evaluate(model, data).labels) == 5


def test_firing_rates_are_counted_in_bins(model, test_images):
    evaluation = evaluate(model, first(test_images, 300))
    bins = list(evaluation.firing_rate_histogram())
    rates = evaluation.spikes["hidden_1"].double() / (300 * 6)
    assert sum(each["output"] for each in bins) == pytest.approx(1)
    for each in bins:
        low, high = each["firing_rate"] - 0.01, each["firing_rate"] + 0.01
        inside = ((rates >= low - 1e-12) & (rates < high - 1e-12)).sum().item()
        assert each["hidden_1"] == pytest.approx(inside / 40)


def test_mistakes_are_those_images_that_are_decided_wrong_the_most_confident_first(params, test_images):
    model = untrained(changed(params, network={"layers": "40", "num_steps": 6, "threshold": 0.3}).network, seed=2)
    data = first(test_images, 1203)
    evaluation = evaluate(model, data)
    found = mistakes(data, evaluation)
    assert len(found) == 1203 - evaluation.as_metrics().correct > 0
    confidences = [mistake.confidence for mistake in found]
    assert confidences == sorted(confidences, reverse=True)
    assert confidences[0] > confidences[-1] >= 0
    for mistake in (found[0], found[-1]):
        with torch.no_grad():
            counts = model.network(mistake.image[None] / 255).spikes.sum(0)[0]
        assert mistake.label != mistake.decided == counts.argmax()
        assert mistake.confidence == pytest.approx(counts.max().item() / max(1, counts.sum().item()))
