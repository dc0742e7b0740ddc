import pytest
import torch

from lifline.evaluation import evaluate
from lifline.model_file import new_network
from lifline.snn import Record, decode
from lifline.snn.decoding import DECODINGS
from tests.conftest import changed, first


@pytest.fixture
def network(params):
    return new_network(changed(params, network={"hidden": 40, "num_steps": 6, "threshold": 1.5}).network, seed=2)


def test_counts_as_a_look_at_each_image_alone(network, test_images):
    data = first(test_images, 1203)  # two full batches and a part
    metrics = evaluate(network, data, "rate").as_metrics()

    with torch.no_grad():
        record = network(data.images.flatten(1) / 255)
    counts = record.hidden_counts.double()
    correct = {
        how: sum(
            int(decode(Record(*(part[:, i : i + 1] for part in record)), how) == data.labels[i]) for i in range(1203)
        )
        for how in DECODINGS
    }
    assert metrics["total"] == 1203
    assert metrics["correct"] == correct["rate"]
    assert metrics["accuracy"] == correct["rate"] / 1203
    assert metrics["accuracy_by_decoding"] == {how: count / 1203 for how, count in correct.items()}
    assert metrics["spikes_per_image"]["hidden"] == pytest.approx(counts.sum(1).mean().item())
    assert metrics["firing_rate"]["hidden"] == pytest.approx(counts.mean().item() / 6, rel=1e-5)
    assert metrics["firing_rate"]["output"] == pytest.approx(record.spikes.mean().item(), rel=1e-5)
    assert metrics["synaptic_operations_per_image"] == pytest.approx(10 * counts.sum(1).mean().item())
    assert metrics["silent_hidden_neurons"] == (counts.sum(0) == 0).sum().item() / 40
    assert 0 < metrics["silent_hidden_neurons"] < 1


def test_a_neuron_without_input_is_silent(network, test_images):
    with torch.no_grad():
        network.fc1.weight[:10] = 0
        network.fc1.bias[:10] = 0
    evaluation = evaluate(network, first(test_images, 100), "rate")
    assert (evaluation.hidden_spikes[:10] == 0).all()


def test_evaluation_leaves_the_network_as_it_was(network, test_images):
    before = {name: value.clone() for name, value in network.state_dict().items()}
    evaluate(network, first(test_images, 100), "rate")
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())
