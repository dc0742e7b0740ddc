import io
import re

import nir
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lifline.errors import ModelError
from lifline.export.nir import nir_bytes, nir_metadata, to_nir
from lifline.export.nir_readers import READERS, Reader, ReaderComparison, compare_readers
from lifline.snn.reference import lif
from tests.conftest import MNIST, ROOT, changed, first, untrained

NUM_STEPS = 4


def small(params, **network):
    return changed(params, network={"layers": "40", "num_steps": NUM_STEPS, "threshold": 0.3} | network).network


def written(model, **metadata):
    return nir_bytes(to_nir(model.network, nir_metadata(model.params, model.dataset, **metadata)))


def read(content):
    return nir.read(io.BytesIO(content))


@pytest.fixture(scope="module")
def model(params):
    return untrained(small(params, layers="4C5-AP2-3C3p1-20", beta=0.9, threshold=[0.1, 0.1, 0.2, 0.3]), seed=4)


@pytest.fixture(scope="module")
def content(model):
    return written(model)


def test_the_graph_is_the_network_with_its_own_weights(model, content):
    graph = read(content)
    kinds = [type(graph.nodes[end]).__name__ for _, end in graph.edges]
    assert kinds == [
        *["Conv2d", "SumPool2d", "LIF", "Conv2d", "LIF", "Flatten", "Affine", "LIF", "Affine", "LIF", "Output"]
    ]
    for name, layer in zip(["conv_1", "conv_2", "affine_3", "affine_4"], model.network.layers, strict=True):
        np.testing.assert_array_equal(graph.nodes[name].weight, layer.projection.weight.detach().numpy())
        np.testing.assert_array_equal(graph.nodes[name].bias, layer.projection.bias.detach().numpy())
    assert graph.nodes["conv_2"].padding.tolist() == [1, 1]
    assert [graph.nodes[f"lif_{i}"].tau.shape for i in (1, 2, 3, 4)] == [(4, 12, 12), (3, 12, 12), (20,), (10,)]


def test_the_metadata_says_what_a_graph_cannot(model):
    metadata = read(written(model, model_sha256="abc")).metadata
    told = {key: metadata[key] for key in ("dt", "num_steps", "coding", "decoding", "reset", "model_sha256")}
    assert told == {
        "dt": 1e-4,
        "num_steps": NUM_STEPS,
        "coding": "constant",
        "decoding": model.params.decoding,
        "reset": "subtract",
        "model_sha256": "abc",
    }
    assert type(model.params).model_validate_json(metadata["network"]) == model.params
    assert MNIST.model_validate_json(metadata["dataset"]) == MNIST


def test_equal_networks_give_equal_files_and_others_do_not(params, model, content):
    assert written(untrained(model.params, seed=4)) == content
    assert written(untrained(model.params, seed=5)) != content


@given(beta=st.floats(0, 0.999), threshold=st.floats(0.01, 100), seed=st.integers(0, 99))
@settings(max_examples=50, derandomize=True)
def test_nirs_equation_with_our_reset_fires_when_our_neuron_does(params, beta, threshold, seed):
    """An oracle in float64: forward Euler over NIR's differential equation, the threshold subtracted a step later."""
    model = untrained(small(params, layers="3", beta=beta, threshold=threshold))
    node = to_nir(model.network, {}).nodes["lif_1"]
    current = torch.rand(30, 1, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 3 * threshold
    membrane, spike, spikes = np.zeros(3), np.zeros(3), []
    for now in current[:, 0].numpy():
        change = 1e-4 / node.tau * (node.v_leak - membrane + node.r * now)
        membrane = membrane + change - node.v_threshold * spike
        spike = (membrane > node.v_threshold).astype(float)
        spikes.append(spike)
    expected, _ = lif(current, beta, threshold, None, "atan", 0)
    np.testing.assert_array_equal(np.stack(spikes), expected[:, 0].numpy())


def test_readers_are_compared_with_the_network(model, content, test_images):
    by_hand, snntorch, norse = compare_readers(content, model.network, "rate", first(test_images, 600))
    assert (by_hand.images, by_hand.class_mismatches, by_hand.spike_count_mismatches) == (600, 0, 0)
    assert snntorch.spike_count_mismatches > 0  # it resets to zero
    assert snntorch[2:] == norse[2:]  # as Norse does
    assert by_hand.describe() == (
        "equal classes on 600 images in snnTorch by hand (snntorch 1.0.0, Leaky, reset by subtraction); output spike "
        "counts differ on 0"
    )
    assert by_hand.verdict() == "proven, equal classes and spike counts on 600 images with snntorch 1.0.0's neurons"


def test_that_another_convention_gives_other_results_is_said_to_be_expected_and_of_ours_is_not():
    ours, others = (ReaderComparison(reader, "1.0", 10_000, 27, 9_705) for reader in READERS[:2])
    assert ours.describe().endswith("differ in class on 27 of 10,000 images; output spike counts differ on 9,705")
    assert others.describe() == (
        "snnTorch's import_from_nir (snntorch 1.0, reset to zero, dt 1e-4) and the network differ in class on 27 of "
        "10,000 images; output spike counts differ on 9,705, as expected of neurons that reset otherwise than the "
        "network's: see nir.md of lifline's docs"
    )
    assert others._replace(images=36, class_mismatches=0, spike_count_mismatches=12).describe() == (
        "equal classes on 36 images in snnTorch's import_from_nir (snntorch 1.0, reset to zero, dt 1e-4); output spike "
        "counts differ on 12, as expected of neurons that reset otherwise than the network's: see nir.md of lifline's "
        "docs"
    )


def test_a_verdict_says_what_is_equal_and_what_was_allowed_to_differ():
    compared = ReaderComparison(READERS[0], "1.0", 10_000, 0, 3)
    assert compared.verdict() == (
        "proven, equal classes on 10,000 images with snntorch 1.0's neurons; spike counts differ on 3"
    )
    assert compared._replace(class_mismatches=2).verdict() == (
        "other classes on 2 of 10,000 images with snntorch 1.0's neurons, as export.max_class_mismatches allows; "
        "spike counts differ on 3"
    )


@pytest.mark.parametrize("coding", ["latency", "rate"])
def test_readers_see_images_coded_as_the_network_codes_them(params, test_images, coding):
    model = untrained(small(params, coding=coding, threshold=0.1), seed=4)
    [compared] = compare_readers(written(model), model.network, "membrane", first(test_images, 300), READERS[:1])
    assert compared[2:5] == (300, 0, 0)


def test_a_file_of_another_network_is_found_out(params, test_images, model, content):
    other = untrained(model.params, seed=5)
    [compared] = compare_readers(content, other.network, "rate", first(test_images, 300), READERS[:1])
    assert compared.class_mismatches > 0
    assert compared.spike_count_mismatches > 0


def test_a_reader_that_refuses_says_why(model, content, test_images):
    def refuse(_graph):
        raise NotImplementedError("no\nSumPool2d")

    [compared] = compare_readers(
        content, model.network, "rate", first(test_images, 5), (Reader("Other", "nir", "", refuse),)
    )
    assert compared.describe() == "Other (nir 1.0.8) does not read the file: NotImplementedError: no SumPool2d"


def test_comparing_leaves_nothing_in_snntorchs_list_of_neurons(model, content, test_images):
    import snntorch

    before = len(snntorch.SpikingNeuron.instances)
    compare_readers(content, model.network, "rate", first(test_images, 5), READERS[:2])
    assert len(snntorch.SpikingNeuron.instances) == before


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (
            {"layers": "4C5-MP2-20"},
            r"layer 1 has max pooling, MP2, for which NIR has no node; allowed is average .* AP2",
        ),
        ({"spike_delay": 1}, r"network\.spike_delay is 1; allowed in NIR is 0"),
        ({"beta": [0.5, 1.0]}, r"beta of layer 2 is 1; allowed in NIR is below 1: .* infinite"),
    ],
)
def test_what_nir_or_its_readers_lack_is_refused(params, network, message):
    with pytest.raises(ModelError, match=message):
        to_nir(untrained(small(params, **network)).network, {})


def test_another_module_in_a_layers_place_is_refused(params):
    network = untrained(small(params)).network
    network.layers[0].projection = torch.nn.Sequential(network.layers[0].projection)
    with pytest.raises(ModelError, match="layer 1 is Sequential with something put in place"):
        to_nir(network, {})


def test_another_module_in_the_place_of_spikes_is_refused(params):
    network = untrained(small(params)).network
    network.layers[0].spikes = torch.nn.Dropout()
    with pytest.raises(ModelError, match="spikes of layer 1 go through Dropout or a hook"):
        to_nir(network, {})


def test_a_learned_decay_is_written_as_a_number(params):
    network = untrained(small(params, learn_beta=True, beta=0.5)).network
    assert to_nir(network, {}).nodes["lif_1"].tau[0] == 1e-4 / (1 - network.layers[0].decay())


@pytest.mark.parametrize("layers", ["40", "4C5p2-AP3-20"])
def test_the_snippet_for_snntorch_fires_as_the_network_does(params, test_images, tmp_path, monkeypatch, layers):
    model = untrained(small(params, layers=layers), seed=4)
    (tmp_path / "model.nir").write_bytes(written(model))
    monkeypatch.chdir(tmp_path)
    [snippet] = re.findall(r"```python\n(.*?)```", (ROOT / "docs/nir.md").read_text(), re.DOTALL)
    names = {}
    exec(snippet, names)  # noqa: S102
    images = test_images.images[:300].float() / 255
    with torch.no_grad():
        counts, expected = names["count_spikes"](images), model.network(images).spikes.sum(0)
    assert expected.any()
    np.testing.assert_array_equal(counts.numpy(), expected.numpy())
