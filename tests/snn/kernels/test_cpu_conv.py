"""Neurons, convolution and pooling in one: against the reference neuron and PyTorch's operations."""

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch.nn.functional import conv2d, max_pool2d

from lifline.snn import reference
from lifline.snn.kernels.conv_kernels import launch_backward, launch_forward
from lifline.snn.kernels.cpu_conv import conv_backward, conv_forward
from lifline.snn.surrogate import SURROGATES


@pytest.fixture(autouse=True)
def threads_as_before():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@st.composite
def cases(draw):
    """Sizes around whole vectors, and a seed that draws the rest."""
    kernel = draw(st.sampled_from([1, 2, 3, 5]))
    case = {
        "seed": draw(st.integers(0, 2**32 - 1)),
        "num_steps": draw(st.sampled_from([1, 2, 5, 40])),
        "batch": draw(st.sampled_from([1, 2, 3])),
        "channels": draw(st.sampled_from([1, 2, 12, 16, 17, 33])),
        "height": draw(st.integers(1, 9)),
        "width": draw(st.integers(1, 9)),
        "outputs": draw(st.sampled_from([1, 7, 16, 18, 33, 64, 65, 100])),
        "kernel": kernel,
        "padding": draw(st.integers(0, kernel)),
        "pool": draw(st.sampled_from([1, 2, 3, 4])),
        "threads": draw(st.sampled_from([1, 2, 3])),
        "is_constant": draw(st.booleans()),
        "is_channels_last": draw(st.booleans()),
        "whole": draw(st.booleans()),
        "spike_delay": draw(st.sampled_from([0, 1])),
        "surrogate": draw(st.sampled_from(list(SURROGATES))),
        "threshold": draw(st.sampled_from([0.5, 1.0])),
        "with_counts": draw(st.booleans()),
    }
    assume(min(case["height"], case["width"]) + 2 * case["padding"] - kernel + 1 >= case["pool"])
    return case


class Case:
    """A drawn case as tensors; whole weights make sums exact, so that maxima tie as often as not."""

    def __init__(self, seed, is_constant, is_channels_last, whole, **sizes):
        self.__dict__.update(sizes)
        random = torch.Generator().manual_seed(seed)
        torch.set_num_threads(self.threads)
        steps = () if is_constant else (self.num_steps,)
        current = torch.randn(*steps, self.batch, self.channels, self.height, self.width, generator=random)
        current[..., 0, 0, 0] = self.threshold
        if is_channels_last:
            current = current.movedim(-3, -1).contiguous().movedim(-1, -3)
        weight = torch.randn(self.outputs, self.channels, self.kernel, self.kernel, generator=random)
        bias, betas = torch.randn(self.outputs, generator=random), torch.rand(current.shape[-3:], generator=random)
        if whole:
            weight, bias = weight.round().clamp(-1, 1), bias.round()
        self.leaves = [leaf.requires_grad_() for leaf in (current, weight, bias, betas)]
        self.random = random

    def forward(self):
        return conv_forward(
            *self.leaves, self.threshold, self.num_steps, self.spike_delay, self.padding, self.pool
        )  # fmt: skip

    def backward(self, places, pooled_grad, counts_grad, needs_beta_grad=True):
        current, weight, _, betas = self.leaves
        return conv_backward(
            current, weight, betas, places, self.threshold, self.surrogate, self.spike_delay, self.padding, self.pool,
            pooled_grad, counts_grad, needs_beta_grad,
        )  # fmt: skip

    def expected(self):
        current, weight, bias, betas = self.leaves
        num_steps = self.num_steps if current.dim() == 4 else None
        settings = self.threshold, num_steps, self.surrogate, self.spike_delay
        spikes, _ = reference.lif(current.flatten(-3), betas.flatten(), *settings)
        convolved = conv2d(spikes.reshape(-1, *betas.shape), weight, bias, padding=self.padding)
        pooled = max_pool2d(convolved, self.pool).unflatten(0, (self.num_steps, self.batch))
        return pooled, spikes.sum(0).reshape(-1, *betas.shape)

    def like(self, tensor):
        return torch.randn(tensor.shape, generator=self.random)


def assert_close_to_rounding(ours, theirs):
    for our, their in zip(ours, theirs, strict=True):
        assert our.shape == their.shape
        scale = max(their.abs().max().item(), 1.0)
        torch.testing.assert_close(our, their, rtol=1e-4, atol=1e-5 * scale)


@given(case=cases())
@settings(max_examples=200)
def test_it_equals_the_reference_a_convolution_and_pooling(case):
    case = Case(**case)
    pooled, counts, places = case.forward()
    their_pooled, their_counts = case.expected()
    assert torch.equal(counts, their_counts)
    assert_close_to_rounding([pooled], [their_pooled.detach()])
    pooled_grad, counts_grad = case.like(pooled), case.like(counts) if case.with_counts else None
    total = (their_pooled * pooled_grad).sum()
    if counts_grad is not None:
        total = total + (their_counts * counts_grad).sum()
    theirs = torch.autograd.grad(total, case.leaves, allow_unused=True)
    theirs = [torch.zeros_like(leaf) if g is None else g for leaf, g in zip(case.leaves, theirs, strict=True)]
    assert_close_to_rounding(case.backward(places, pooled_grad, counts_grad), theirs)
    *ours, beta_grad = case.backward(places, pooled_grad, counts_grad, needs_beta_grad=False)
    assert beta_grad is None
    assert_close_to_rounding(ours, theirs[:3])


def example(**changes):
    sizes = {
        "seed": 0, "num_steps": 9, "batch": 5, "channels": 12, "height": 12, "width": 10, "outputs": 20, "kernel": 5,
        "padding": 0, "pool": 2, "threads": 2, "is_constant": True, "is_channels_last": True, "whole": False,
        "spike_delay": 0, "surrogate": "fast_sigmoid", "threshold": 1.0, "with_counts": True,
    }  # fmt: skip
    return Case(**{**sizes, **changes})


@pytest.mark.parametrize(("current", "density"), [(-1.0, 0), (5.0, 1)])
def test_neurons_may_all_be_silent_or_all_fire(current, density):
    case = example()
    case.leaves[0] = torch.full_like(case.leaves[0], current).requires_grad_()
    pooled, counts, places = case.forward()
    their_pooled, their_counts = case.expected()
    assert (counts / case.num_steps).unique().tolist() == [density]
    assert torch.equal(counts, their_counts)
    assert_close_to_rounding([pooled], [their_pooled.detach()])
    pooled_grad, counts_grad = case.like(pooled), case.like(counts)
    total = (their_pooled * pooled_grad).sum() + (their_counts * counts_grad).sum()
    theirs = torch.autograd.grad(total, case.leaves[:3])
    assert_close_to_rounding(case.backward(places, pooled_grad, counts_grad)[:3], theirs)


@pytest.mark.parametrize("is_constant", [True, False])
def test_it_repeats_bit_by_bit_and_depends_on_threads_by_rounding_alone(is_constant):
    def outcome(threads):
        case = example(threads=threads, is_constant=is_constant)
        pooled, counts, places = case.forward()
        return pooled, counts, *case.backward(places, case.like(pooled), case.like(counts))

    alone = outcome(1)
    for threads in (1, 2, 3, 7):
        once, again = outcome(threads), outcome(threads)
        assert all(map(torch.equal, once, again))
        assert all(map(torch.equal, once[:3], alone[:3]))  # an image's results do not depend on the others
        assert_close_to_rounding(once, alone)


def test_channels_come_last_in_memory():
    case = example(is_constant=False)
    pooled, counts, places = case.forward()
    current_grad, *_ = case.backward(places, case.like(pooled), None)
    assert all(tensor.movedim(-3, -1).is_contiguous() for tensor in (pooled, counts, current_grad))


def test_gradients_may_have_any_layout():
    case = example()
    pooled, _, places = case.forward()
    expanded = torch.ones(()).expand(pooled.shape)
    contiguous = case.backward(places, expanded.contiguous(), None)
    assert all(map(torch.equal, case.backward(places, expanded, None), contiguous))


def test_a_membrane_that_is_not_a_number_is_silent():
    case = example()
    with torch.no_grad():
        case.leaves[0][0, 3, 2, 2] = torch.nan
    pooled, counts, _ = case.forward()
    assert counts[0, 3, 2, 2] == 0
    assert pooled.isfinite().all()


def test_maxima_that_are_not_numbers_are_passed_on_as_pytorch_does():
    case = example()
    with torch.no_grad():
        case.leaves[2][3], case.leaves[2][4] = torch.nan, -torch.inf
    pooled, _, _ = case.forward()
    expected, _ = case.expected()
    torch.testing.assert_close(pooled, expected.detach(), equal_nan=True, rtol=1e-5, atol=1e-5)


def test_other_sizes_and_layouts_compile_nothing():
    def compiled():
        return len(launch_forward.overloads), len(launch_backward.overloads)

    for changes in (
        {},
        {"is_constant": False, "spike_delay": 1},
        {"is_channels_last": False, "pool": 1, "padding": 2, "kernel": 3},
        {"batch": 1, "channels": 1, "outputs": 1, "height": 2, "width": 2, "kernel": 1, "num_steps": 1},
    ):
        case = example(**changes)
        pooled, counts, places = case.forward()
        for counts_grad in (None, counts):
            case.backward(places, pooled, counts_grad, needs_beta_grad=counts_grad is None)
    assert compiled() == (1, 1)
