"""The kernels against the reference: spikes and membranes equal bit by bit, gradients to rounding."""

import math
import os
import subprocess
import sys
from contextlib import contextmanager

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.functional import linear

from lifline.snn import lif, lif_linear, reference
from lifline.snn.kernels import cpu
from lifline.snn.lif import KERNELS_VARIABLE
from lifline.snn.surrogate import SURROGATES
from tests.conftest import ROOT, clean_environment

devices = pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])


@st.composite
def cases(draw):
    """Arguments of `lif`, whose random parts a seed draws: sizes at and around what the kernels work on at a time."""
    return {
        "seed": draw(st.integers(0, 2**32 - 1)),
        "batch": draw(st.sampled_from([1, 2, 3, 17])),
        "neurons": draw(st.sampled_from([1, 2, 7, 16, 33, 511, 512, 513, 1000])),
        "num_steps": draw(st.sampled_from([1, 2, 5, 10, 11, 25, 30, 31, 61])),
        "is_constant": draw(st.booleans()),
        "beta": draw(st.sampled_from([0.0, 0.5, 0.95, 1.0, "scalar", "per neuron"])),
        "threshold": draw(st.sampled_from([0.5, 1.0, 3.0])),
        "surrogate": draw(st.sampled_from(list(SURROGATES))),
        "spike_delay": draw(st.sampled_from([0, 1])),
        "threads": draw(st.sampled_from([1, 2, 3])),
    }


class Case:
    """A drawn case as tensors."""

    def __init__(self, device, seed, batch, neurons, num_steps, is_constant, beta, threads, **options):
        torch.set_num_threads(threads)
        random = torch.Generator().manual_seed(seed)
        self.random, self.device = random, device
        shape = (batch, neurons) if is_constant else (num_steps, batch, neurons)
        self.current = self.normal(*shape)
        betas = {"scalar": torch.rand((), generator=random), "per neuron": torch.rand(neurons, generator=random)}
        self.beta = betas[beta].to(device) if beta in betas else beta
        self.steps = num_steps
        self.options = {"num_steps": num_steps if is_constant else None, **options}
        self.output_shape = (num_steps, batch, neurons)

    def normal(self, *shape):
        return torch.randn(shape, generator=self.random).to(self.device)

    def leaves(self):
        """Fresh leaves of the graph: the current, and beta where it is a tensor."""
        tensors = [self.current] + ([self.beta] if isinstance(self.beta, torch.Tensor) else [])
        leaves = [tensor.clone().requires_grad_() for tensor in tensors]
        return leaves, leaves[0], leaves[1] if len(leaves) > 1 else self.beta


@pytest.fixture(autouse=True)
def threads_as_before():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@contextmanager
def kernels(which):
    os.environ[KERNELS_VARIABLE] = which
    try:
        yield
    finally:
        del os.environ[KERNELS_VARIABLE]


def gradients(total, leaves):
    """Gradients as a list, zero where there is no path."""
    if not total.requires_grad:
        return [torch.zeros_like(leaf) for leaf in leaves]
    found = torch.autograd.grad(total, leaves, allow_unused=True)
    return [torch.zeros_like(leaf) if grad is None else grad for leaf, grad in zip(leaves, found, strict=True)]


def assert_close_to_rounding(ours, theirs):
    """Sums of up to a few thousand terms of either sign: what rounds is the largest of them."""
    for our, their in zip(ours, theirs, strict=True):
        scale = max(their.abs().max().item(), 1.0)
        torch.testing.assert_close(our, their, rtol=1e-4, atol=1e-4 * scale)


@devices
@given(case=cases(), through=st.sampled_from(["spikes", "membrane", "both"]))
@settings(max_examples=150)
def test_lif_equals_the_reference(device, case, through):
    case = Case(device, **case)
    weights = case.normal(*case.output_shape), case.normal(*case.output_shape)
    outcomes = []
    for which in ("fused", "reference"):
        with kernels(which):
            leaves, current, beta = case.leaves()
            spikes, membrane = lif(current, beta, **case.options)
            total = sum(
                (weight * output).sum()
                for name, weight, output in zip(("spikes", "membrane"), weights, (spikes, membrane), strict=True)
                if through in (name, "both")
            )
            outcomes.append((spikes.detach(), membrane.detach(), gradients(total, leaves)))
    ours, theirs = outcomes
    assert torch.equal(ours[0], theirs[0])
    assert torch.equal(ours[1], theirs[1])
    assert_close_to_rounding(ours[2], theirs[2])


@devices
@given(case=cases(), outputs=st.sampled_from([1, 4, 5, 10, 11, 65]), through=st.sampled_from([1, 2, 3]))
@settings(max_examples=150)
def test_lif_linear_equals_lif_and_a_linear_layer(device, case, outputs, through):
    case = Case(device, **case)
    neurons = case.output_shape[2]
    weight, bias = case.normal(outputs, neurons), case.normal(outputs)
    weights = case.normal(*case.output_shape[:2], outputs), case.normal(*case.output_shape[1:])

    def total(projected, counts):
        parts = (weights[0] * projected).sum(), (weights[1] * counts).sum()
        return sum(part for bit, part in enumerate(parts) if through & (1 << bit))

    leaves, current, beta = case.leaves()
    leaves += [tensor.clone().requires_grad_() for tensor in (weight, bias)]
    projected, counts = lif_linear(current, *leaves[-2:], beta, **case.options)
    ours = gradients(total(projected, counts), leaves)

    with kernels("reference"):
        spikes, _ = lif(current, beta, **case.options)
    their_projected, their_counts = linear(spikes, *leaves[-2:]), spikes.sum(0)
    assert torch.equal(counts, their_counts)
    torch.testing.assert_close(projected, their_projected, rtol=1e-5, atol=1e-4)
    assert_close_to_rounding(ours, gradients(total(their_projected, their_counts), leaves))


@devices
@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("surrogate", SURROGATES)
def test_extreme_currents_come_out_as_in_the_reference(device, surrogate, beta):
    at = torch.tensor(1.0)
    around = [torch.nextafter(at, torch.tensor(0.0)), at, torch.nextafter(at, torch.tensor(2.0))]
    extremes = [math.inf, -math.inf, math.nan, 3.4e38, -3.4e38, 1e-45, -1e-45, 0.0, -0.0, 0.5, *around]
    current = torch.tensor([extremes], device=device)
    outcomes = []
    for which in ("fused", "reference"):
        with kernels(which):
            leaf = current.clone().requires_grad_()
            outputs = lif(leaf, beta, num_steps=7, surrogate=surrogate)
            (gradient,) = torch.autograd.grad([output.sum() for output in outputs], [leaf])
            outcomes.append((*outputs, gradient))
    for ours, theirs in zip(*outcomes, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=0, equal_nan=True)
    for ours, theirs in zip(outcomes[0][:2], outcomes[1][:2], strict=True):
        assert torch.equal(ours.nan_to_num(nan=7.0), theirs.nan_to_num(nan=7.0))


@devices
@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("surrogate", SURROGATES)
def test_extreme_currents_of_a_fused_layer_come_out_as_in_the_reference(device, surrogate, beta):
    """One image each, since what is not finite spreads over the projection."""
    extremes = torch.tensor([math.inf, -math.inf, math.nan, 3.4e38, -3.4e38, 1e-45, 0.0, 1.0], device=device)
    current = torch.full((len(extremes), 5), 0.4, device=device)
    current[:, 2] = extremes
    weight = torch.linspace(-1, 1, 15, device=device).reshape(3, 5)
    outcomes = []
    for which in ("fused", "reference"):
        with kernels(which):
            leaf = current.clone().requires_grad_()
            projected, counts = lif_linear(leaf, weight, torch.zeros(3, device=device), beta, num_steps=7)
            (gradient,) = torch.autograd.grad((projected * torch.arange(3.0, device=device)).sum(), [leaf])
            outcomes.append((projected, counts, gradient))
    for ours, theirs in zip(*outcomes, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5, equal_nan=True)


@pytest.mark.parametrize("threads", [1, 2, 3, 7])
def test_any_number_of_threads_gives_the_same_and_repeats_bit_by_bit(threads):
    random = torch.Generator().manual_seed(0)
    current = torch.randn(5, 1000, generator=random)
    weight, bias = torch.randn(10, 1000, generator=random), torch.zeros(10)

    def run():
        leaf, own_weight = current.clone().requires_grad_(), weight.clone().requires_grad_()
        beta = torch.full((1000,), 0.95, requires_grad=True)
        projected, counts = lif_linear(leaf, own_weight, bias, beta, num_steps=25)
        spikes, membrane = lif(leaf, beta, num_steps=9)  # more neurons than a thread takes at a time
        (projected.square().sum() + spikes.sum() + membrane.square().sum()).backward()
        return projected.detach(), counts, spikes.detach(), membrane.detach(), leaf.grad, own_weight.grad, beta.grad

    torch.set_num_threads(1)
    alone = run()
    torch.set_num_threads(threads)
    once, again = run(), run()
    assert all(torch.equal(first, second) for first, second in zip(once, again, strict=True))
    assert torch.equal(once[1], alone[1])
    assert_close_to_rounding(once, alone)


def test_tensors_of_any_layout_are_understood():
    current = torch.randn(8, 3, generator=torch.Generator().manual_seed(0)).T.requires_grad_()
    weight = torch.randn(8, 4, generator=torch.Generator().manual_seed(1)).T
    projected, _ = lif_linear(current, weight, torch.zeros(4), 0.9, num_steps=5)
    (gradient,) = torch.autograd.grad(projected.sum(), current)  # an expanded gradient
    with kernels("reference"):
        expected, _ = lif_linear(current, weight, torch.zeros(4), 0.9, num_steps=5)
        (expected_gradient,) = torch.autograd.grad(expected.sum(), current)
    torch.testing.assert_close(projected, expected)
    torch.testing.assert_close(gradient, expected_gradient)


@pytest.mark.parametrize(
    "arguments",
    [
        {"weight": torch.ones(2, 4)},
        {"weight": torch.ones(2, 9)},
        {"weight": torch.ones(8)},
        {"bias": torch.ones(1)},
        {"bias": torch.ones(0)},
        {"weight": torch.ones(2, 8, dtype=torch.float64)},
        {"current": torch.ones(1, 8, dtype=torch.float64)},
    ],
)
def test_a_projection_that_does_not_fit_is_refused(arguments):
    defaults = {"current": torch.ones(1, 8), "weight": torch.ones(2, 8), "bias": torch.ones(2)}
    with pytest.raises(ValueError, match="allowed are"):
        lif_linear(**{**defaults, **arguments}, beta=0.9, num_steps=3)


def test_defaults_of_pytorch_do_not_matter():
    current = torch.randn(40, 1000, generator=torch.Generator().manual_seed(0))
    expected = lif(current, 0.95, num_steps=9)
    torch.set_default_dtype(torch.float64)
    try:
        with torch.device("meta"):
            found = lif(current, 0.95, num_steps=9)
    finally:
        torch.set_default_dtype(torch.float32)
    assert all(map(torch.equal, found, expected))


def test_under_autocast_the_layer_computes_in_float32_as_the_reference_does():
    random = torch.Generator().manual_seed(0)
    current, weight = torch.randn(9, 100, generator=random).bfloat16(), torch.randn(10, 100, generator=random)
    with torch.autocast("cpu", torch.bfloat16):
        ours, _ = lif_linear(current, weight, torch.zeros(10), 0.9, num_steps=9)
        with kernels("reference"):
            theirs, _ = lif_linear(current, weight, torch.zeros(10), 0.9, num_steps=9)
    assert ours.dtype == theirs.dtype == torch.float32
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-4)


def test_half_precision_becomes_float32():
    current = torch.randn(2, 5, generator=torch.Generator().manual_seed(0)).bfloat16()
    spikes, membrane = lif(current, 0.9, num_steps=5)
    assert spikes.dtype == membrane.dtype == torch.float32
    assert torch.equal(membrane, lif(current.float(), 0.9, num_steps=5)[1])


def test_another_number_of_steps_compiles_nothing():
    def compiled():
        dispatchers = [value for value in vars(cpu).values() if hasattr(value, "nopython_signatures")]
        return sum(len(dispatcher.nopython_signatures) for dispatcher in dispatchers)

    def train(batch, neurons, num_steps):
        current = torch.ones(batch, neurons, requires_grad=True)
        projected, _ = lif_linear(current, torch.ones(3, neurons), torch.zeros(3), 0.9, num_steps=num_steps)
        lif(projected, 0.9)[1].sum().backward()

    train(2, 5, 4)
    before = compiled()
    assert before > 0
    for sizes in ((2, 5, 5), (2, 5, 200), (1, 600, 1), (9, 1, 30)):
        train(*sizes)
    assert compiled() == before


def test_the_reference_can_be_asked_for(monkeypatch):
    monkeypatch.setattr(reference, "lif", lambda *_: "the reference")
    assert lif(torch.zeros(1, 1), 0.9, num_steps=2) != "the reference"
    assert lif(torch.zeros(1, 1, dtype=torch.float64), 0.9, num_steps=2) == "the reference"
    monkeypatch.setenv(KERNELS_VARIABLE, "reference")
    assert lif(torch.zeros(1, 1), 0.9, num_steps=2) == "the reference"
    monkeypatch.setenv(KERNELS_VARIABLE, "fast")
    with pytest.raises(ValueError, match="LIFLINE_KERNELS is 'fast'; allowed are fused and reference"):
        lif(torch.zeros(1, 1), 0.9, num_steps=2)


def test_gradients_of_gradients_are_refused():
    current, weight = torch.ones(1, 3, requires_grad=True), torch.ones(4, 1, 3, requires_grad=True)
    spikes, _ = lif(current, 0.9, num_steps=4)
    (gradient,) = torch.autograd.grad((weight * spikes).sum(), current, create_graph=True)
    with pytest.raises(RuntimeError, match="LIFLINE_KERNELS=reference"):
        gradient.sum().backward()


def test_a_training_keeps_no_record_of_the_hidden_layer_over_time():
    """What grows with the number of steps is the readout's record, [T, B, C], alone."""
    current, weight = torch.randn(4, 300, requires_grad=True), nn.Parameter(torch.ones(10, 300))
    kept = []

    def keep(tensor):
        kept.append(tensor.numel())
        return tensor

    def total_kept(num_steps):
        kept.clear()
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            projected, _ = lif_linear(current, weight, torch.zeros(10), 0.9, num_steps=num_steps)
            lif(projected, 0.9)
        return sum(kept)

    assert total_kept(50) - total_kept(20) == 30 * 4 * 10  # the readout's membrane


TRITON_PROGRAM = """
import itertools, torch
from lifline.snn import reference
from lifline.snn.kernels import autograd, cuda
from lifline.snn.surrogate import SURROGATES

autograd.kernels_for = lambda tensor: cuda
random = torch.Generator().manual_seed(0)
sizes = [(1, 1, 1), (3, 7, 5), (2, 129, 4)]
for surrogate, delay, (batch, neurons, steps), is_constant in itertools.product(SURROGATES, (0, 1), sizes, (0, 1)):
    shape = (batch, neurons) if is_constant else (steps, batch, neurons)
    current, beta = torch.randn(shape, generator=random), torch.rand(neurons, generator=random)
    current[..., 0] = 1.0  # at the threshold
    weights = torch.randn(2, steps, batch, neurons, generator=random)
    for use_spikes, use_membrane in ((1, 1), (0, 1), (1, 0)):
        results = []
        for run, num_steps in ((torch.ops.lifline.lif, steps), (reference.lif, steps if is_constant else None)):
            leaves = current.clone().requires_grad_(), beta.clone().requires_grad_()
            spikes, membrane = run(*leaves, 1.0, num_steps, surrogate, delay)
            total = use_spikes * (weights[0] * spikes).sum() + use_membrane * (weights[1] * membrane).sum()
            results.append((spikes, membrane, *torch.autograd.grad(total, leaves, allow_unused=True)))
        ours, theirs = results
        assert torch.equal(ours[0], theirs[0]) and torch.equal(ours[1], theirs[1])
        for our, their in zip(ours[2:], theirs[2:]):
            torch.testing.assert_close(our, torch.zeros_like(our) if their is None else their, rtol=1e-4, atol=1e-4)
print("equal")
"""


@pytest.mark.slow
def test_the_cuda_kernels_arithmetic_under_tritons_interpreter():
    pytest.importorskip("triton", reason="Triton comes with PyTorch on Linux only")
    environment = {**clean_environment(), "PYTHONPATH": str(ROOT / "src"), "TRITON_INTERPRET": "1"}
    done = subprocess.run(
        [sys.executable, "-c", TRITON_PROGRAM], env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "equal\n"), done.stderr


@pytest.mark.parametrize("surrogate", SURROGATES)
def test_the_cuda_kernels_compile_and_round_forward_as_pytorch_does(surrogate, tmp_path, monkeypatch):
    """Compiled for a GPU that need not be there. A fused multiply-add would round once where PyTorch rounds twice."""
    pytest.importorskip("triton", reason="Triton comes with PyTorch on Linux only")
    from triton import compile as triton_compile
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from lifline.snn.kernels import cuda

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    fixed = {"IS_CONSTANT": False, "DELAY": 1, "BLOCK": cuda.BLOCK}
    scalars = {"num_neurons": "i32", "num_steps": "i32", "threshold": "fp32"}

    def ptx(kernel, pointers, fixed, **options):
        types = dict.fromkeys(pointers, "*fp32") | scalars | dict.fromkeys(fixed, "constexpr")
        signature = {name: types[name] for name in kernel.arg_names}
        source = ASTSource(fn=kernel, signature=signature, constexprs=fixed)
        return triton_compile(source, target=GPUTarget("cuda", 80, 32), options=options).asm["ptx"]

    forward = ["current", "betas", "spikes", "membranes"]
    assert "fma" not in ptx(cuda._forward, forward, fixed, enable_fp_fusion=False)
    assert "fma" in ptx(cuda._forward, forward, fixed)  # what the option is for
    backward = ["membranes", "betas", "spikes_grad", "membrane_grad", "current_grad", "beta_grads"]
    assert ".entry" in ptx(cuda._backward, backward, fixed | {"SURROGATE": surrogate, "SLOPE": 25.0})
