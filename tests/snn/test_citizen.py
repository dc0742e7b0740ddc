"""The neuron within other people's code: recorded, traced, compiled, transformed, cut in two, of any shape and type."""

import io
import logging
import re
import subprocess
import sys
from functools import partial

import numpy as np
import onnxruntime
import pytest
import snntorch
import torch
from torch import library, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd import forward_ad
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from lifline.snn import Lif, SpikingNetwork, lif, lif_linear
from lifline.snn.lif import KERNELS_VARIABLE
from lifline.snn.surrogate import SURROGATES
from tests.conftest import ROOT, clean_environment

OPERATORS = torch.ops.lifline
NUM_STEPS = 5


class Calls(TorchDispatchMode):
    """Notes the arguments that each operator was last called with."""

    def __init__(self):
        super().__init__()
        self.arguments = {}

    def __torch_dispatch__(self, operator, types, arguments=(), options=None):
        self.arguments[operator] = arguments
        return operator(*arguments, **(options or {}))


def normal(*shape, seed=0, **options):
    return 2 * torch.randn(shape, generator=torch.Generator().manual_seed(seed), **options)


class Readout(nn.Module):
    """A network whose outputs are tensors alone."""

    def __init__(self, **neuron):
        super().__init__()
        self.network = SpikingNetwork.from_layers("30", [12], 4, Lif(0.9, 0.5, **neuron), NUM_STEPS, seed=1)

    def forward(self, images):
        record = self.network(images)
        return record.spikes, record.membrane


def learned(module, images):
    """What a module answers, and the gradients of its parameters."""
    parameters = list(module.parameters())
    outputs = module(images)
    weights = normal(*outputs[0].shape, seed=9).to(images.device)
    return outputs, torch.autograd.grad(sum((weights * output).sum() for output in outputs), parameters)


def assert_equal_to_eager(found, module, images):
    """A module made of `module` answers and learns as it does, on images that it has not seen."""
    (spikes, membrane), gradients = learned(found, images)
    (expected_spikes, expected_membrane), expected_gradients = learned(module, images)
    assert 0 < expected_spikes.mean() < 1
    assert torch.equal(spikes, expected_spikes)
    torch.testing.assert_close(membrane, expected_membrane)
    torch.testing.assert_close(gradients, expected_gradients, rtol=1e-4, atol=1e-4)


# Operators.


def operator_calls():
    spike_settings = 0.5, NUM_STEPS, "atan", 0
    constant, moving, beta = normal(2, 3), normal(NUM_STEPS, 2, 3), torch.rand(3)
    weight, bias = normal(4, 3), normal(4)
    gradient = normal(NUM_STEPS, 2, 3)
    leaf = partial(torch.Tensor.requires_grad_)
    yield OPERATORS.lif, (leaf(constant.clone()), leaf(beta.clone()), *spike_settings)
    yield OPERATORS.lif, (leaf(moving.clone()), beta, *spike_settings)
    yield OPERATORS.lif_backward, (moving, beta, 0.5, "fast_sigmoid", 1, gradient, None, True, True)
    yield OPERATORS.lif_backward, (moving, beta, 0.5, "fast_sigmoid", 1, None, gradient, False, False)
    yield OPERATORS.lif_linear, (*map(leaf, (constant.clone(), weight.clone(), bias, beta.clone())), *spike_settings)
    projected = normal(NUM_STEPS, 2, 4)
    yield OPERATORS.lif_linear_backward, (constant, weight, beta, 0.5, "atan", 0, projected, constant, True)
    yield OPERATORS.lif_linear_backward, (constant, weight, beta, 0.5, "atan", 1, projected, None, False)
    yield OPERATORS.lif_linear, (*map(leaf, (moving.clone(), weight.clone(), bias, beta.clone())), *spike_settings)
    yield OPERATORS.lif_linear_backward, (moving, weight, beta, 0.5, "atan", 0, projected, constant, True)
    yield OPERATORS.lif_spikes, (leaf(constant.clone()), leaf(beta.clone()), *spike_settings)
    yield OPERATORS.lif_spikes, (leaf(moving.clone()), beta, *spike_settings)
    spikes_settings = 0.5, NUM_STEPS, "fast_sigmoid", 1
    yield OPERATORS.lif_spikes_backward, (moving, beta, *spikes_settings, gradient, None, True)
    yield OPERATORS.lif_spikes_backward, (constant, beta, *spikes_settings, None, constant, False)


def convolution_calls():
    """Calls of the convolution's operator and its backward, on channels of every layout."""
    leaf = partial(torch.Tensor.requires_grad_)
    image, filters, bias = normal(2, 3, 6, 7, seed=3), normal(5, 3, 3, 3, seed=4), normal(5, seed=5)
    moving, betas = normal(NUM_STEPS, 2, 3, 6, 7, seed=6), torch.rand(3, 6, 7)
    for current in (image, image.movedim(1, -1).contiguous().movedim(-1, 1), moving):
        settings = 0.5, NUM_STEPS, "atan", 0, 1, 2
        yield (
            OPERATORS.lif_conv,
            (*map(leaf, (current.clone(), filters.clone(), bias.clone(), betas.clone())), *settings),
        )
        pooled, counts, places = OPERATORS.lif_conv(current, filters, bias, betas, *settings)
        for counts_grad in (counts, None):
            yield OPERATORS.lif_conv_backward, (
                current, filters, betas, places, 0.5, "atan", 0, 1, 2, pooled, counts_grad, counts_grad is None
            )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("operator", ["lif_conv", "lif_conv_backward"])
def test_the_convolutions_kernels_are_operators_as_pytorch_wants_them(operator):
    for called, arguments in convolution_calls():
        if called == getattr(OPERATORS, operator):
            library.opcheck(called.default, arguments)


@pytest.mark.parametrize(("operator", "arguments"), list(operator_calls()))
def test_kernels_are_operators_as_pytorch_wants_them(operator, arguments):
    library.opcheck(operator.default, arguments)


@pytest.mark.slow
def test_an_import_compiles_nothing_and_brings_neither_numba_nor_the_compiler():
    program = """
import sys, torch
from lifline.snn import lif
print([name for name in ("numba", "torch._dynamo", "triton", "onnx") if name in sys.modules])
lif(torch.ones(1, 1, requires_grad=True), 0.9, num_steps=2)[0].sum().backward()
print("numba" in sys.modules, "torch._dynamo" in sys.modules)
"""
    environment = {**clean_environment(), "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == ["[]", "True False"], done.stderr


# Graphs that others run.


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("surrogate", SURROGATES)
def test_torchscript_answers_and_learns_alike_on_other_batches(surrogate):
    module, file = Readout(surrogate=surrogate), io.BytesIO()
    torch.jit.save(torch.jit.trace(module, normal(3, 12)), file)
    file.seek(0)
    assert_equal_to_eager(torch.jit.load(file), module, normal(7, 12, seed=1))


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_torchscript_of_a_neuron_warns_of_nothing_and_takes_what_it_is_given(recwarn):
    current = normal(NUM_STEPS, 2, 3)
    traced = torch.jit.trace(lambda current, beta: lif(current, beta, 0.5), (current, torch.tensor(0.9)))
    assert [warning for warning in recwarn if warning.category is torch.jit.TracerWarning] == []
    other = normal(NUM_STEPS, 4, 3, seed=1)
    torch.testing.assert_close(traced(other, torch.tensor(0.3)), lif(other, 0.3, 0.5), rtol=0, atol=0)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("layers", ["30-20", "4C3-MP2-5C2"])
def test_torchscript_of_a_network_warns_of_nothing_that_it_decides_by(recwarn, layers):
    network = SpikingNetwork.from_layers(layers, (1, 8, 8), 4, Lif(0.8, 0.3), NUM_STEPS, seed=1).frozen()
    torch.jit.trace(lambda images: network(images).membrane, normal(3, 1, 8, 8), check_trace=False)
    assert [warning for warning in recwarn if warning.category is torch.jit.TracerWarning] == []
    with pytest.raises(ValueError, match="images have the shape"):
        torch.jit.trace(lambda images: network(images).membrane, normal(3, 8, 8, 1), check_trace=False)


@pytest.mark.slow
@pytest.mark.parametrize("neuron", [{}, {"surrogate": "fast_sigmoid", "spike_delay": 1}])
def test_an_exported_program_answers_and_learns_alike_on_other_batches(neuron):
    module, file = Readout(**neuron), io.BytesIO()
    batch = torch.export.Dim("batch")
    torch.export.save(torch.export.export(module, (normal(3, 12),), dynamic_shapes=({0: batch},)), file)
    file.seek(0)
    program = torch.export.load(file)
    assert {getattr(node.target, "namespace", "aten") for node in program.graph.nodes} == {"aten"}
    assert_equal_to_eager(program.module(), module, normal(7, 12, seed=1))


@pytest.mark.slow
@pytest.mark.parametrize("layers", ["30", "4C3-MP2-5C2"])
def test_an_exported_network_is_saved_and_loaded_whole(layers):
    network = SpikingNetwork.from_layers(layers, (1, 8, 8), 4, Lif(0.8, 0.3), NUM_STEPS, seed=1)
    images = normal(3, 1, 8, 8)
    file = io.BytesIO()
    torch.export.save(torch.export.export(network, (images,)), file)
    file.seek(0)
    found, expected = torch.export.load(file).module()(images), network(images)
    assert torch.equal(found.spikes, expected.spikes)
    assert all(map(torch.equal, found.hidden_counts, expected.hidden_counts))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("dynamo", [False, True])
def test_onnx_answers_alike_on_other_batches_though_its_network_learns(dynamo, caplog):
    module, file = Readout(), io.BytesIO()
    axes = (
        {"dynamic_shapes": {"images": {0: torch.export.Dim("batch")}}} if dynamo else {"dynamic_axes": {"images": [0]}}
    )
    with caplog.at_level(logging.ERROR, "torch.onnx"):
        torch.onnx.export(module, (normal(3, 12),), file, dynamo=dynamo, input_names=["images"], verbose=False, **axes)
    session = onnxruntime.InferenceSession(file.getvalue(), providers=["CPUExecutionProvider"])
    images = normal(7, 12, seed=1)
    spikes, membrane = session.run(None, {"images": images.numpy()})
    expected_spikes, expected_membrane = module(images)
    assert expected_spikes.sum() > 0
    assert np.array_equal(spikes, expected_spikes.detach())
    np.testing.assert_allclose(membrane, expected_membrane.detach(), atol=1e-5)


def test_a_recorded_neuron_keeps_its_spikes_where_numbers_are_not_finite():
    class Neuron(nn.Module):
        def forward(self, current):
            return lif(current, 0.5)

    extremes = torch.tensor([[[torch.inf, -torch.inf, torch.nan, 3e38, 1.0, 0.0]]]).repeat(3, 1, 1).requires_grad_()
    program = torch.export.export(Neuron(), (torch.zeros_like(extremes).requires_grad_(),)).module()
    torch.testing.assert_close(program(extremes), lif(extremes, 0.5), rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("tracing_mode", ["real", "fake", "symbolic"])
def test_make_fx_records_forward_and_backward(tracing_mode):
    def gradients(images, weight, beta):
        current = nn.functional.linear(images, weight)
        spikes, membrane = lif(current, beta, 0.5, num_steps=NUM_STEPS)
        projected, counts = lif_linear(current, weight[:, :6], weight[:, 0], beta, num_steps=NUM_STEPS)
        total = spikes.sum() + membrane.square().sum() + projected.square().sum() + counts.sum()
        return spikes, *torch.autograd.grad(total, (weight, beta))

    weight, beta = normal(6, 12).requires_grad_(), torch.rand(6).requires_grad_()
    graph = make_fx(gradients, tracing_mode=tracing_mode)(normal(3, 12), weight, beta)
    count = 7 if tracing_mode == "symbolic" else 3
    inputs = normal(count, 12, seed=1), normal(6, 12, seed=2).requires_grad_(), (0.5 * beta).detach().requires_grad_()
    torch.testing.assert_close(graph(*inputs), gradients(*inputs), rtol=1e-4, atol=1e-4)


# Tensors without values, and modes that watch.


def test_without_values_there_are_shapes():
    with FakeTensorMode():
        fake = learned(Readout(), torch.ones(3, 12))
    meta = learned(Readout().to("meta"), torch.ones(3, 12, device="meta"))
    real = learned(Readout(), torch.ones(3, 12))
    for outputs, gradients in (fake, meta):
        assert [output.shape for output in outputs] == [output.shape for output in real[0]]
        assert [gradient.shape for gradient in gradients] == [gradient.shape for gradient in real[1]]
    assert meta[0][0].is_meta


def test_a_shape_that_does_not_fit_is_refused_without_values_too():
    with FakeTensorMode(), pytest.raises(ValueError, match=r"^beta has the shape \[4\]; allowed are \[\] and \[3\]$"):
        lif(torch.ones(2, 3), torch.ones(4), num_steps=3)


def walk_back(outputs):
    """Run backward node by node, since PyTorch's engine wants a GPU to be there. Returns gradients by leaf's id."""
    nodes, received, found = nodes_in_order({output.grad_fn for output in outputs}), {}, {}

    def receive(node, index, gradient):
        shape = node._input_metadata[index].shape
        slots = received.setdefault(node, [None] * len(node._input_metadata))
        gradient = gradient.sum_to_size(shape)
        slots[index] = gradient if slots[index] is None else slots[index] + gradient

    for output in outputs:
        receive(output.grad_fn, output.output_nr, torch.ones_like(output))
    for node in nodes:
        if node not in received:
            continue
        if hasattr(node, "variable"):
            found[id(node.variable)] = received[node][0]
            continue
        answers = (node.apply if hasattr(node, "apply") else node)(*received[node])
        for (before, index), answer in zip(node.next_functions, answers if type(answers) is tuple else (answers,)):  # noqa: B905
            if before is not None and answer is not None:
                receive(before, index, answer)
    return found


def nodes_in_order(roots):
    """The graph's nodes, each before those that it hands gradients to."""
    finished = []

    def visit(node):
        if node is not None and node not in finished:
            for before, _ in node.next_functions:
                visit(before)
            finished.append(node)

    for root in roots:
        visit(root)
    return finished[::-1]


@pytest.mark.parametrize("has_steps", [True, False])
@pytest.mark.parametrize("beta", [0.9, "scalar", "per neuron"])
@pytest.mark.parametrize("how", ["plain", "learned threshold", "initial", "linear", "channels last"])
def test_on_cuda_everything_stays_on_the_device_and_nothing_waits_for_it(has_steps, beta, how):
    """With fake tensors of a GPU that is not there, whatever looks at a value or mixes devices raises."""
    with FakeTensorMode():
        make = partial(torch.ones, device="cuda", requires_grad=True)
        neurons = (3, 4, 5) if how == "channels last" else (3,)
        current = make(*((NUM_STEPS, 2) if has_steps else (2,)), *neurons)
        beta = {"scalar": make(()), "per neuron": make(neurons)}.get(beta, beta)
        options = {"num_steps": None if has_steps else NUM_STEPS, "spike_delay": 1}
        leaves = [current, *([beta] if isinstance(beta, torch.Tensor) else [])]
        if how == "linear":
            leaves += [make(4, 3), make(4)]
            outputs = lif_linear(current, *leaves[-2:], beta, **options)
        else:
            if how == "learned threshold":
                options["threshold"] = make(())
                leaves.append(options["threshold"])
            if how == "initial":
                options["initial"] = make(2, 3)
                leaves.append(options["initial"])
            seen = current
            if how == "channels last":
                seen = current.movedim(-3, -1).contiguous().movedim(-1, -3)
            outputs = lif(seen, beta, **options)
        gradients = walk_back(outputs)
    assert all(output.device.type == "cuda" for output in outputs)
    for leaf in leaves:
        assert gradients[id(leaf)].device == leaf.device
        assert gradients[id(leaf)].shape == leaf.shape


def test_a_flop_counter_counts_the_projections_too():
    batch, module = 3, Readout()
    products = batch * (12 * 30 + NUM_STEPS * 30 * 4)
    with FlopCounterMode(display=False) as forward:
        outputs = module(normal(batch, 12))
    assert forward.get_total_flops() == 2 * products
    with FlopCounterMode(display=False) as backward:
        outputs[1].sum().backward()
    assert backward.get_total_flops() == 2 * (2 * products - batch * 12 * 30)  # no gradient of the images


# Compiled.


def compiled(function, **options):
    """Compile with PyTorch's own front end; returns the function and a list that its graphs are added to."""
    torch._dynamo.reset()
    graphs = []

    def backend(graph, inputs):
        graphs.append(graph)
        return torch._dynamo.lookup_backend("aot_eager")(graph, inputs)

    return torch.compile(function, backend=backend, fullgraph=True, **options), graphs


@pytest.mark.parametrize("dynamic", [pytest.param(False, marks=pytest.mark.slow), True])
def test_a_compiled_network_is_one_graph_that_calls_the_kernels(dynamic):
    module = Readout()
    run, graphs = compiled(module, dynamic=dynamic)
    run(normal(3, 12))
    assert_equal_to_eager(run, module, normal(7 if dynamic else 3, 12, seed=1))
    targets = [node.target for graph in graphs for node in graph.graph.nodes]
    names = [target.name() for target in targets if hasattr(target, "namespace")]
    assert names == ["lifline::lif_linear", "lifline::lif"]


@pytest.mark.slow
@pytest.mark.parametrize("surrogate", SURROGATES)
def test_what_has_no_kernel_is_compiled_too(surrogate):
    current = normal(NUM_STEPS, 2, 3, dtype=torch.float64).requires_grad_()
    run, _ = compiled(partial(lif, beta=0.9, surrogate=surrogate))
    results = []
    for function in (run, partial(lif, beta=0.9, surrogate=surrogate)):
        outputs = function(current)
        results.append((*outputs, *torch.autograd.grad(outputs[0].sum() + outputs[1].square().sum(), current)))
    torch.testing.assert_close(*results)


# Transformed.


def score(current, beta=0.9, **options):
    """A number that every spike and membrane has a part in."""
    spikes, membrane = lif(current, beta, **options)
    weights = torch.linspace(-1, 2, spikes.shape[0], dtype=spikes.dtype).reshape(-1, *[1] * (spikes.dim() - 1))
    return (weights * spikes).sum() + (weights * membrane.square()).sum()


@pytest.mark.parametrize("surrogate", SURROGATES)
def test_functional_gradients_are_autograds(surrogate):
    current, beta = normal(NUM_STEPS, 2, 3).requires_grad_(), torch.rand(3).requires_grad_()
    function = partial(score, surrogate=surrogate)
    expected = torch.autograd.grad(function(current, beta), (current, beta))
    found = torch.func.grad(function, argnums=(0, 1))(current.detach(), beta.detach())
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_vmap_runs_each_alone_and_gives_gradients_of_each():
    currents, beta = normal(4, NUM_STEPS, 2, 3), torch.rand(4)
    found = torch.vmap(lif)(currents, beta)
    each = [lif(current, one) for current, one in zip(currents, beta, strict=True)]
    torch.testing.assert_close(found, tuple(map(torch.stack, zip(*each, strict=True))), rtol=0, atol=0)
    gradients = torch.vmap(torch.func.grad(score))(currents, beta)
    expected = [torch.func.grad(score)(current, one) for current, one in zip(currents, beta, strict=True)]
    torch.testing.assert_close(gradients, torch.stack(expected))
    around = torch.func.grad(lambda currents: torch.vmap(score)(currents, beta).sum())(currents)
    torch.testing.assert_close(around, gradients)


@pytest.mark.parametrize("layers", ["4C3-MP2-5C2", "4C3p1-AP2-7"])
def test_gradients_of_each_image_sum_up_to_autograds_in_convolutions_too(layers):
    network = SpikingNetwork.from_layers(layers, (1, 8, 8), 4, Lif(0.8, 0.3), NUM_STEPS, seed=1)
    images = normal(3, 1, 8, 8)

    def loss(parameters, image):
        return torch.func.functional_call(network, parameters, (image[None],)).membrane.square().sum()

    parameters = {name: parameter.detach() for name, parameter in network.named_parameters()}
    of_each = torch.func.vmap(torch.func.grad(loss), (None, 0))(parameters, images)
    network(images).membrane.square().sum().backward()
    for name, parameter in network.named_parameters():
        torch.testing.assert_close(of_each[name].sum(0), parameter.grad, rtol=1e-4, atol=1e-4)


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:FutureWarning")  # PyTorch's own
def test_jacobians_backward_and_forward_are_autograds():
    current = normal(3, 2, 2)
    function = lambda current: lif(current, 0.9, 0.5)  # noqa: E731
    expected = torch.autograd.functional.jacobian(function, current)
    assert expected[0].abs().sum() > 0
    torch.testing.assert_close(torch.func.jacrev(function)(current), expected)
    torch.testing.assert_close(torch.func.jacfwd(function)(current), expected)


def test_forward_gradients_are_not_lost():
    current, tangent = normal(NUM_STEPS, 2, 3), normal(NUM_STEPS, 2, 3, seed=1)
    with forward_ad.dual_level():
        found = forward_ad.unpack_dual(score(forward_ad.make_dual(current, tangent))).tangent
    torch.testing.assert_close(found, (torch.func.grad(score)(current) * tangent).sum())


def test_a_transform_may_be_compiled():
    each, currents = torch.vmap(torch.func.grad(score)), normal(4, NUM_STEPS, 2, 3)
    run, _ = compiled(each)
    torch.testing.assert_close(run(currents), each(currents))


def test_projections_are_transformed_too():
    current, weight, bias = normal(2, 3), normal(4, 3), normal(4)
    run = lambda *tensors: lif_linear(*tensors, 0.9, num_steps=NUM_STEPS)[0].square().sum()  # noqa: E731
    leaves = [tensor.clone().requires_grad_() for tensor in (current, weight, bias)]
    expected = torch.autograd.grad(run(*leaves), leaves)
    torch.testing.assert_close(torch.func.grad(run, argnums=(0, 1, 2))(current, weight, bias), expected)


def second_gradient(current):
    (gradient,) = torch.autograd.grad(score(current), current, create_graph=True)
    return torch.autograd.grad(gradient.square().sum(), current)[0]


def test_gradients_of_gradients_are_refused_by_the_kernels_and_right_in_the_reference(monkeypatch):
    current = normal(NUM_STEPS, 2, 3).requires_grad_()
    with pytest.raises(RuntimeError, match=r"^gradients of gradients .*; LIFLINE_KERNELS=reference computes them$"):
        second_gradient(current)
    monkeypatch.setenv(KERNELS_VARIABLE, "reference")
    found = second_gradient(current)
    expected = torch.func.grad(lambda current: torch.func.grad(score)(current).square().sum())(current.detach())
    assert found.abs().sum() > 0
    torch.testing.assert_close(found, expected)


# Types.


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_types_run_and_come_out_as_float32(dtype):
    current, weight, bias = normal(2, 3).to(dtype), normal(4, 3).to(dtype), normal(4).to(dtype)
    leaves = [tensor.requires_grad_() for tensor in (current, weight, bias)]
    options = {"beta": torch.tensor(0.5, dtype=dtype), "num_steps": NUM_STEPS}
    spikes, membrane = lif(current, initial=torch.ones(2, 3, dtype=dtype), **options)
    projected, counts = lif_linear(*leaves, **options)
    assert {tensor.dtype for tensor in (spikes, membrane, projected, counts)} == {torch.float32}
    expected = lif_linear(*(leaf.detach().float() for leaf in leaves), beta=0.5, num_steps=NUM_STEPS)
    torch.testing.assert_close((projected, counts), expected)
    projected.sum().backward()
    assert all(leaf.grad.dtype == dtype for leaf in leaves)


def test_a_network_of_a_half_type_learns():
    outputs, gradients = learned(Readout().bfloat16(), normal(3, 12).bfloat16())
    assert outputs[0].sum() > 0
    assert all(gradient.isfinite().all() and gradient.abs().sum() > 0 for gradient in gradients)


def test_double_precision_stays_double():
    current, weight, bias = (normal(*shape, dtype=torch.float64) for shape in ((2, 3), (4, 3), (4,)))
    outputs = *lif(current, torch.rand(3), num_steps=9), *lif_linear(current, weight, bias, 0.9, num_steps=9)
    assert {output.dtype for output in outputs} == {torch.float64}


# A threshold to learn.


@pytest.mark.parametrize("per_neuron", [False, True])
@pytest.mark.parametrize("surrogate", ["atan", "fast_sigmoid"])
def test_a_threshold_learns_as_snntorchs_does(per_neuron, surrogate):
    spike_grad = getattr(snntorch.surrogate, surrogate)()
    current, threshold = normal(9, 2, 3), torch.tensor([0.5, 1.0, 2.0]) if per_neuron else torch.tensor(0.7)
    neuron = snntorch.Leaky(0.9, threshold, spike_grad, learn_threshold=True, reset_mechanism="subtract")
    ours = threshold.clone().requires_grad_()
    spikes, membrane = lif(current, 0.9, ours, surrogate=surrogate)
    state, their_spikes, their_membrane = neuron.init_leaky(), [], []
    for current_now in current:
        spike, state = neuron(current_now, state)
        their_spikes.append(spike)
        their_membrane.append(state)
    assert torch.equal(spikes, torch.stack(their_spikes))
    assert torch.equal(membrane, torch.stack(their_membrane))
    (spikes.sum() + membrane.square().sum()).backward()
    (torch.stack(their_spikes).sum() + torch.stack(their_membrane).square().sum()).backward()
    assert ours.grad.abs().sum() > 0
    torch.testing.assert_close(ours.grad, neuron.threshold.grad)


def test_a_threshold_that_is_a_tensor_without_a_gradient_is_a_number(monkeypatch):
    current, expected = normal(9, 2, 3), lif(normal(9, 2, 3), 0.9, 0.5)
    monkeypatch.setattr("lifline.snn.reference.lif", None)  # the kernel answers
    for threshold in (torch.tensor(0.5), torch.tensor(0.5, dtype=torch.float64), np.float32(0.5), np.float64(0.5)):
        torch.testing.assert_close(lif(current, 0.9, threshold), expected, rtol=0, atol=0)


def test_a_projection_behind_a_threshold_that_learns():
    threshold, leaves = torch.tensor(0.5, requires_grad=True), (normal(2, 3), normal(4, 3), normal(4))
    projected, _ = lif_linear(*leaves, 0.9, threshold, num_steps=NUM_STEPS)
    torch.testing.assert_close(projected, lif_linear(*leaves, 0.9, 0.5, num_steps=NUM_STEPS)[0])
    projected.sum().backward()
    assert threshold.grad != 0


# A sequence in two parts.


@pytest.mark.parametrize("which", ["fused", "reference"])
@pytest.mark.parametrize("spike_delay", [0, 1])
@pytest.mark.parametrize("is_constant", [False, True])
@pytest.mark.parametrize("cut", [1, 4, 8])
def test_a_sequence_cut_in_two_is_the_whole(which, spike_delay, is_constant, cut, monkeypatch):
    monkeypatch.setenv(KERNELS_VARIABLE, which)
    num_steps, options = 9, {"threshold": 0.8, "spike_delay": spike_delay}

    def parts(current, start, steps):
        return (current, steps) if is_constant else (current[start : start + steps], None)

    def whole(current, beta):
        part, steps = parts(current, 0, num_steps)
        return lif(part, beta, num_steps=steps, **options)

    def in_two(current, beta):
        part, steps = parts(current, 0, cut)
        first = lif(part, beta, num_steps=steps, **options)
        part, steps = parts(current, cut, num_steps - cut)
        second = lif(part, beta, num_steps=steps, initial=first[1][-1], **options)
        return tuple(map(torch.cat, zip(first, second, strict=True)))

    shape = (2, 300) if is_constant else (num_steps, 2, 300)
    leaves = normal(*shape).requires_grad_(), torch.rand(300, generator=torch.manual_seed(0)).requires_grad_()
    weights = normal(2, num_steps, 2, 300, seed=3)
    results = []
    for function in (whole, in_two):
        spikes, membrane = function(*leaves)
        gradients = torch.autograd.grad((weights[0] * spikes + weights[1] * membrane).sum(), leaves)
        results.append((spikes, membrane, gradients))
    assert results[0][0].sum() > 0
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])
    torch.testing.assert_close(results[0][2], results[1][2], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("spike_delay", [0, 1])
def test_gradients_reach_the_initial_membrane_as_in_the_reference(spike_delay, monkeypatch):
    current, initial, weights = normal(4, 2, 3), normal(2, 3, seed=1).requires_grad_(), normal(4, 2, 3, seed=2)
    results = []
    for which in ("fused", "reference"):
        monkeypatch.setenv(KERNELS_VARIABLE, which)
        spikes, membrane = lif(current, 0.9, 0.8, spike_delay=spike_delay, initial=initial)
        results.append(torch.autograd.grad((weights * (spikes + membrane)).sum(), initial)[0])
    assert results[0].abs().min() > 0
    torch.testing.assert_close(*results)


@pytest.mark.parametrize("spike_delay", [0, 1])
@pytest.mark.parametrize("layers", ["30-20", "4C3-MP2-5C2"])
def test_a_network_goes_on_from_its_membranes(layers, spike_delay):
    neuron = Lif(0.8, 0.3, spike_delay=spike_delay)
    network = SpikingNetwork.from_layers(layers, (1, 8, 8), 4, neuron, NUM_STEPS, seed=1)
    images = normal(6, 3, 1, 8, 8)
    whole = network(images)
    first, membranes = network.stream(images[:2])
    second, membranes = network.stream(images[2:], membranes)
    assert 0 < whole.spikes.mean() < 1
    assert torch.equal(torch.cat([first.spikes, second.spikes]), whole.spikes)
    torch.testing.assert_close(membranes[-1], whole.membrane[-1])
    for counts in zip(first.hidden_counts, second.hidden_counts, whole.hidden_counts, strict=True):
        assert torch.equal(counts[0] + counts[1], counts[2])
    whole.membrane.sum().backward()
    expected = [parameter.grad.clone() for parameter in network.parameters()]
    network.zero_grad()
    (first.membrane.sum() + second.membrane.sum()).backward()  # through the cut
    torch.testing.assert_close([parameter.grad for parameter in network.parameters()], expected, rtol=1e-4, atol=1e-4)


def test_a_constant_image_is_shown_on():
    network = SpikingNetwork.from_layers("30", [12], 4, Lif(0.9, 0.5), NUM_STEPS, seed=1)
    images = normal(3, 12)
    first, membranes = network.stream(images, num_steps=2)
    second, _ = network.stream(images, membranes, num_steps=3)
    assert torch.equal(torch.cat([first.spikes, second.spikes]), network(images).spikes)


@pytest.mark.parametrize(
    ("membranes", "message"),
    [
        (lambda given: given[:1], "there are 1 membranes; allowed is 2: one for each layer"),
        (lambda given: given[::-1], "initial is [3, 4]"),
        (lambda given: [0.0, 0.0], "initial is 0.0; allowed is a tensor [3, 30]"),
    ],
)
def test_membranes_that_do_not_fit_are_refused(membranes, message):
    network = SpikingNetwork.from_layers("30", [12], 4, Lif(0.9, 0.5), NUM_STEPS)
    images = normal(3, 12)
    _, given = network.stream(images)
    with pytest.raises(ValueError, match=re.escape(message)):
        network.stream(images, membranes(given))


def test_an_image_that_is_shown_whole_has_no_next_part():
    network = SpikingNetwork.from_layers("30", [12], 4, Lif(0.9, 0.5), NUM_STEPS, coding="latency")
    network.stream(normal(NUM_STEPS, 3, 12))
    with pytest.raises(ValueError, match="coding is latency, which shows an image whole"):
        network.stream(torch.rand(3, 12))


def test_an_initial_membrane_by_hand():
    # 1.5 fired: 0.5 * 1.5 + 0.75 - 1 = 0.5; 0.5 * 0.5 + 0.75 is the threshold, not above it
    initial = torch.tensor([[1.5]])
    spikes, membrane = lif(torch.tensor([[0.75]]), 0.5, num_steps=3, initial=initial)
    assert membrane.flatten().tolist() == [0.5, 1.0, 1.25]
    assert spikes.flatten().tolist() == [0.0, 0.0, 1.0]
    late, _ = lif(torch.tensor([[0.75]]), 0.5, num_steps=3, initial=initial, spike_delay=1)
    assert late.flatten().tolist() == [1.0, 0.0, 0.0]


@pytest.mark.parametrize(
    "initial", [torch.zeros(3), torch.zeros(1, 3), torch.zeros(2, 3, dtype=torch.float64), torch.zeros(2, 3).to("meta")]
)
def test_an_initial_membrane_that_does_not_fit_is_refused(initial):
    with pytest.raises(ValueError, match=r"^initial is .*; allowed is \[2, 3\] of torch.float32 on cpu$"):
        lif(torch.zeros(4, 2, 3), 0.9, initial=initial)


# Currents of any shape.


def gradient_of(outputs, leaf):
    spikes, membrane = outputs
    return torch.autograd.grad(spikes.sum() + membrane.square().sum(), leaf)[0]


SHAPES = [(5,), (5, 3), (5, 3, 4), (5, 3, 4, 2), (5, 1, 4, 1), (1, 3, 1, 1), (0, 3, 2)]


@pytest.mark.parametrize("which", ["fused", "reference"])
@pytest.mark.parametrize("is_constant", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_neurons_of_any_shape_are_the_same_neurons_in_a_row(shape, is_constant, which, monkeypatch):
    monkeypatch.setenv(KERNELS_VARIABLE, which)
    num_steps = 6 if is_constant else None
    leading, count = ([shape[0]] if is_constant else [6, shape[0]]), int(np.prod(shape[1:]))
    current = normal(*leading, *shape[1:]).requires_grad_()
    for beta in (0.9, torch.rand(()), torch.rand(shape[1:])):
        flat_beta = beta.flatten() if isinstance(beta, torch.Tensor) and beta.dim() else beta
        outputs = lif(current, beta, num_steps=num_steps)
        expected = lif(current.reshape(*leading, count), flat_beta, num_steps=num_steps)
        assert outputs[0].shape == outputs[1].shape == (6, *shape)
        for output, one in zip(outputs, expected, strict=True):
            assert torch.equal(output.reshape(one.shape), one)
        torch.testing.assert_close(gradient_of(outputs, current), gradient_of(expected, current))


@pytest.mark.parametrize("has_steps", [True, False])
@pytest.mark.parametrize("per_neuron", [True, False])
def test_channels_last_is_the_same_and_is_not_copied(has_steps, per_neuron):
    beta = torch.rand(3, 4, 5, generator=torch.manual_seed(0)) if per_neuron else 0.9
    current = normal(*([6] if has_steps else []), 2, 3, 4, 5)
    stored = current.movedim(-3, -1).contiguous().movedim(-1, -3).requires_grad_()
    num_steps = None if has_steps else 6
    with Calls() as calls:
        outputs = lif(stored, beta, num_steps=num_steps)
    assert calls.arguments[OPERATORS.lif.default][0].data_ptr() == stored.data_ptr()
    expected = lif(current.requires_grad_(), beta, num_steps=num_steps)
    torch.testing.assert_close(outputs, expected, rtol=0, atol=0)
    assert all(output[0].is_contiguous(memory_format=torch.channels_last) for output in outputs)
    torch.testing.assert_close(gradient_of(outputs, stored), gradient_of(expected, current))


LAYOUTS = {
    "transposed": lambda x: x.transpose(0, 1),
    "turned round": lambda x: x.movedim(1, -1),
    "every other": lambda x: x[:, ::2],
    "expanded": lambda x: x[:, :, :1].expand_as(x),
}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_currents_of_any_layout_are_understood(layout):
    current = normal(6, 6, 4, 3)
    torch.testing.assert_close(lif(layout(current), 0.9), lif(layout(current).contiguous(), 0.9), rtol=0, atol=0)


@pytest.mark.parametrize("is_constant", [True, False])
def test_a_projection_flattens_the_neurons_and_counts_keep_their_shape(is_constant):
    current = normal(*([2] if is_constant else [6, 2]), 3, 4, 5)
    stored = current.movedim(-3, -1).contiguous().movedim(-1, -3)
    num_steps, weight, bias = 6 if is_constant else None, normal(7, 60), normal(7)
    spikes, _ = lif(current, 0.9, num_steps=num_steps)
    expected = nn.functional.linear(spikes.flatten(2), weight, bias)
    for given in (current, stored):
        projected, counts = lif_linear(given, weight, bias, 0.9, num_steps=num_steps)
        torch.testing.assert_close(projected, expected, rtol=1e-4, atol=1e-4)
        assert torch.equal(counts, spikes.sum(0))


@pytest.mark.parametrize("num_steps", [None, 6])
def test_a_projection_of_one_neuron_without_an_axis_of_its_own(num_steps):
    current, weight, bias = normal(*([6] if num_steps is None else []), 2), normal(7, 1), normal(7)
    projected, counts = lif_linear(current, weight, bias, 0.9, num_steps=num_steps)
    expected, expected_counts = lif_linear(current.unsqueeze(-1), weight, bias, 0.9, num_steps=num_steps)
    torch.testing.assert_close((projected, counts), (expected, expected_counts.squeeze(-1)))


def test_a_projection_of_another_size_names_what_fits():
    with pytest.raises(ValueError, match=r"^weight is \[7, 3\] .*; allowed are \[C, 60\] and \[C\] of torch.float32$"):
        lif_linear(torch.zeros(2, 3, 4, 5), torch.zeros(7, 3), torch.zeros(7), 0.9, num_steps=2)
