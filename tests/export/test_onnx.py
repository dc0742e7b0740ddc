import json

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx.reference import ReferenceEvaluator

from lifline.errors import ModelError
from lifline.export.onnx import MAX_UNROLLED_STEPS, compare_with_network, to_onnx
from lifline.export.proof import require_equality
from lifline.export.scan import trace_in_loop
from lifline.snn import Lif, SpikingNetwork, decode
from lifline.snn.decoding import DECODINGS
from lifline.snn.trace import trace
from lifline.system.files import sha256_of_bytes
from tests.conftest import ROOT, changed, first, untrained

NUM_STEPS = 4
QUICK = ["rate", "rate_membrane"]
SLOW = [name for name in DECODINGS if name not in QUICK]
METADATA = {"params": {"network.beta": 0.95}, "coding": "constant", "test_accuracy": 0.9}


def small(params, **network):
    return changed(params, network={"layers": "40", "num_steps": NUM_STEPS, "threshold": 0.3} | network).network


@pytest.fixture(scope="module")
def session_of():
    return lambda model: onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


@pytest.fixture(scope="module")
def exported(params):
    return to_onnx(untrained(small(params), seed=4).network, "rate", METADATA)


def with_output_bias(model, bias):
    changed_model = onnx.ModelProto()
    changed_model.CopyFrom(model)
    tensor = next(
        tensor for tensor in changed_model.graph.initializer if tensor.name.endswith("layers.1.projection.bias")
    )
    tensor.CopyFrom(onnx.numpy_helper.from_array(bias.detach().numpy(), tensor.name))
    return changed_model


@pytest.mark.parametrize("decoding", [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)])
def test_onnx_runtime_computes_what_the_network_does(params, test_images, session_of, decoding):
    others = {"spike_delay": 1, "layers": "40-30"} if decoding == "rate_membrane" else {}
    network = untrained(small(params, **others), seed=4).network
    session = session_of(to_onnx(network, decoding, {}))
    for count in (1, 7):
        images = test_images.images[:count].float() / 255
        spikes, membrane, decided, *hidden = session.run(None, {"image": images.numpy()})
        with torch.no_grad():
            record = network(images)
        for layer, counts in zip(hidden, record.hidden_counts, strict=True):
            assert layer.shape == (NUM_STEPS, count, counts.shape[1])
            np.testing.assert_array_equal(layer.sum(0), counts.numpy())
        assert spikes.shape == membrane.shape == (NUM_STEPS, count, 10)
        np.testing.assert_array_equal(spikes, record.spikes.numpy())
        np.testing.assert_allclose(membrane, record.membrane.numpy(), atol=1e-5)
        np.testing.assert_array_equal(decided, decode(record, decoding).numpy())
        assert decided.dtype == np.int64


def test_the_file_tells_what_it_is_and_nothing_of_the_machine(exported, exported_long):
    for model in (exported, exported_long):
        *metadata, _ = model.metadata_props
        assert {entry.key: json.loads(entry.value) for entry in metadata} == METADATA
        content = model.SerializeToString()
        for origin in (str(ROOT).encode(), b"/site-packages/", b"lif.py", b"scan.py", b"stack_trace"):
            assert origin not in content


LONG = {"layers": "4C3-MP2-20", "num_steps": MAX_UNROLLED_STEPS + 1, "spike_delay": 1}


@pytest.fixture(scope="module")
def exported_long(params):
    """Whose steps are a loop."""
    return to_onnx(untrained(small(params, **LONG), seed=4).network, "latency", METADATA)


def test_a_graph_is_as_large_for_any_number_of_steps(params, exported_long):
    longest = to_onnx(untrained(small(params, **LONG | {"num_steps": 1000}), seed=4).network, "latency", METADATA)
    nodes, of_longest = ([node.op_type for node in model.graph.node] for model in (exported_long, longest))
    assert nodes == of_longest
    assert nodes.count("Scan") == 3
    assert longest.ByteSize() - exported_long.ByteSize() < 10_000


@pytest.mark.slow
@pytest.mark.parametrize("num_steps", [NUM_STEPS, MAX_UNROLLED_STEPS + 1])
@pytest.mark.parametrize("coding", ["constant", "latency", "rate"])
def test_the_shapes_in_a_file_are_those_that_onnx_runtime_finds(params, session_of, capfd, coding, num_steps):
    """It warns where it has to give up a buffer of the shape that the file names."""
    network = untrained(small(params, layers="3C3-MP2-9-8", coding=coding, num_steps=num_steps), seed=4).network
    session = session_of(to_onnx(network, "rate", {}))
    (given,) = session.get_inputs()
    steps = [num_steps] if coding == "rate" else []
    for count in (1, 3, 2):
        session.run(None, {given.name: np.ones((*steps, count, 1, 28, 28), np.float32)})
    assert capfd.readouterr().err == ""


def test_a_loop_uses_all_that_it_scans_and_calls_the_batch_by_the_graphs_name(exported_long):
    """Else tract refuses the file."""
    bodies = [
        attribute.g for node in exported_long.graph.node for attribute in node.attribute if attribute.name == "body"
    ]
    assert len(bodies) == 3
    for body in bodies:
        values = [*body.input, *body.output, *body.value_info]
        names = {axis.dim_param for value in values for axis in value.type.tensor_type.shape.dim}
        assert names == {"", "batch"}
        assert {value.name for value in body.input} <= {name for node in body.node for name in node.input}


def test_a_loop_sends_spikes_through_what_is_put_in_their_place(params):
    network = untrained(small(params, layers="20-15"), seed=4).network
    network.layers[0].spikes = torch.nn.Threshold(2.0, 0.0)  # none gets through
    images = torch.rand(3, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        spikes, membrane = trace_in_loop(network, images)
    assert spikes[0].sum() == 0
    torch.testing.assert_close(membrane, trace(network, images)[-1].membrane)


@pytest.mark.parametrize(
    ("coding", "decoding"),
    [
        ("constant", "rate_membrane"),
        pytest.param("latency", "latency", marks=pytest.mark.slow),
        pytest.param("rate", "membrane", marks=pytest.mark.slow),
    ],
)
def test_a_loop_of_steps_is_the_network_whatever_it_is_shown(params, test_images, monkeypatch, coding, decoding):
    monkeypatch.setattr("lifline.export.onnx.MAX_UNROLLED_STEPS", 0)
    network = small(params, layers="4C3-AP2-20", coding=coding, beta=[0.9, 0.5, 0.7], threshold=[0.3, 0.2, 0.1])
    network = untrained(network, seed=4).network
    found = compare_with_network(to_onnx(network, decoding, {}), network, decoding, first(test_images, 50))
    assert found[:4] == (50, 0, 0, NUM_STEPS * 50 * (10 + 20 + 4 * 13 * 13))
    assert found.largest_membrane_difference < 1e-5


@settings(max_examples=15)
@given(beta=st.floats(0, 1), threshold=st.floats(0.01, 5), spike_delay=st.sampled_from([0, 1]), seed=st.integers(0))
def test_a_loops_neuron_is_the_references_bit_by_bit(beta, threshold, spike_delay, seed):
    neuron = Lif(beta, threshold, spike_delay=spike_delay)
    network = SpikingNetwork.from_layers("7", (5,), 3, neuron, num_steps=6, seed=seed % 2**32).frozen()
    images = torch.rand(2, 5, generator=torch.Generator().manual_seed(seed % 2**32)) * 10
    with torch.no_grad():
        for shown in (images, images * torch.arange(4).view(4, 1, 1)):
            spikes, membrane = trace_in_loop(network, shown)
            expected = trace(network, shown)
            for found, layer in zip(spikes, expected, strict=True):
                assert torch.equal(found, layer.spikes)
            assert torch.equal(membrane, expected[-1].membrane)


def test_onnxs_reference_evaluator_computes_the_same(exported, exported_long, test_images, session_of):
    images = test_images.images[:3].numpy() / np.float32(255)
    for model in (exported, exported_long):
        names = [output.name for output in model.graph.output]
        found = ReferenceEvaluator(model).run(names, {"image": images})
        for name, one, other in zip(names, found, session_of(model).run(names, {"image": images}), strict=True):
            if name == "membrane":
                np.testing.assert_allclose(one, other, atol=1e-5)
            else:
                np.testing.assert_array_equal(one, other)


@pytest.mark.slow
def test_equal_networks_give_equal_files(params, exported, exported_long):
    again = to_onnx(untrained(small(params, **LONG), seed=4).network, "latency", METADATA)
    assert again.SerializeToString(deterministic=True) == exported_long.SerializeToString(deterministic=True)
    again = to_onnx(untrained(small(params), seed=4).network, "rate", METADATA)
    assert again.SerializeToString(deterministic=True) == exported.SerializeToString(deterministic=True)


def test_the_file_ends_with_the_sha256_of_what_comes_before(exported):
    content = exported.SerializeToString(deterministic=True)
    assert onnx.load_model_from_string(content).SerializeToString() == content
    seal = exported.metadata_props[-1]
    assert content.endswith(seal.value.encode())
    before = content.removesuffix(onnx.ModelProto(metadata_props=[seal]).SerializeToString())
    assert (seal.key, seal.value) == ("sha256", sha256_of_bytes(before))


def test_old_runtimes_can_read_it(exported, exported_long):
    for model in (exported, exported_long):
        assert model.ir_version == 8
        assert [(each.domain, each.version) for each in model.opset_import] == [("", 18)]
        assert {node.domain for node in model.graph.node} == {""}
        assert not model.functions
        onnx.checker.check_model(model, full_check=True)


def test_a_model_that_differs_is_found_out(params, test_images, exported):
    network = untrained(small(params), seed=4).network
    data = first(test_images, 1200)
    same = compare_with_network(exported, network, "rate", data)
    assert (same.images, same.class_mismatches, same.spike_mismatches) == (1200, 0, 0)
    assert same.spikes_compared == NUM_STEPS * 1200 * (10 + 40)
    assert same.largest_membrane_difference < 1e-4
    require_equality(same, 0)

    different = compare_with_network(
        with_output_bias(exported, network.layers[1].projection.bias.flip(0)), network, "rate", data
    )
    assert different.class_mismatches > 0
    assert different.spike_mismatches > 0
    assert different.largest_membrane_difference > 1e-3
    with pytest.raises(ModelError, match=f"differ in class on {different.class_mismatches} of 1,200 images, .*allowed"):
        require_equality(different, different.class_mismatches - 1)
    require_equality(different, different.class_mismatches)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_membrane_that_is_not_finite_on_one_side_differs_without_bound(params, test_images, exported, value):
    network, broken = untrained(small(params), seed=4).network, untrained(small(params), seed=4).network
    with torch.no_grad():
        broken.layers[1].projection.bias[3] = value
    broken_model = with_output_bias(exported, broken.layers[1].projection.bias)
    data = first(test_images, 600)
    for model, compared in ((exported, broken), (broken_model, network)):
        assert compare_with_network(model, compared, "rate", data).largest_membrane_difference == np.inf
    assert compare_with_network(broken_model, broken, "rate", data).largest_membrane_difference < 1e-4
