"""Neurons of which the current alone is kept, and their projection: against the reference and PyTorch's product."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import linear

from lifline.snn import reference
from lifline.snn.kernels import cpu_steps
from lifline.snn.kernels.cpu_steps import projection_backward, projection_forward, spikes_backward, spikes_forward
from lifline.snn.surrogate import SURROGATES
from tests.snn.kernels.test_cpu_conv import assert_close_to_rounding, threads_as_before  # noqa: F401


@st.composite
def cases(draw):
    """Sizes around whole vectors and blocks, and a seed that draws the rest."""
    return {
        "seed": draw(st.integers(0, 2**32 - 1)),
        "num_steps": draw(st.sampled_from([1, 2, 5, 31, 61])),
        "batch": draw(st.sampled_from([1, 2, 3, 17])),
        "neurons": draw(st.sampled_from([1, 7, 16, 33, 511, 512, 513, 1100])),
        "outputs": draw(st.sampled_from([1, 10, 16, 33, 64, 81])),
        "threads": draw(st.sampled_from([1, 2, 3])),
        "is_constant": draw(st.booleans()),
        "spike_delay": draw(st.sampled_from([0, 1])),
        "surrogate": draw(st.sampled_from(list(SURROGATES))),
        "threshold": draw(st.sampled_from([0.5, 1.0])),
        "with_counts": draw(st.booleans()),
    }


class Case:
    """A drawn case as tensors."""

    def __init__(self, seed, neurons, outputs, is_constant, **sizes):
        self.__dict__.update(sizes)
        self.random = torch.Generator().manual_seed(seed)
        torch.set_num_threads(self.threads)
        steps = () if is_constant else (self.num_steps,)
        self.current = self.normal(*steps, self.batch, neurons)
        with torch.no_grad():
            self.current[..., 0] = self.threshold
        self.weight, self.bias = self.normal(outputs, neurons), self.normal(outputs)
        self.beta = torch.rand(neurons, generator=self.random).requires_grad_()
        self.steps = self.threshold, self.num_steps, self.spike_delay
        self.fires = self.threshold, self.num_steps, self.surrogate, self.spike_delay

    def normal(self, *shape):
        return torch.randn(shape, generator=self.random).requires_grad_()

    def expected(self):
        num_steps = self.num_steps if self.current.dim() == 2 else None
        spikes, _ = reference.lif(self.current, self.beta, self.threshold, num_steps, self.surrogate, self.spike_delay)
        return spikes, spikes.sum(0)

    def gradients(self, output, counts, leaves):
        """Draw gradients of outputs; returns them and those that autograd makes of them."""
        output_grad, counts_grad = self.normal(*output.shape).detach(), self.normal(*counts.shape).detach()
        total = (output * output_grad).sum() + self.with_counts * (counts * counts_grad).sum()
        found = torch.autograd.grad(total + 0 * self.current.sum(), leaves, allow_unused=True)
        found = [torch.zeros_like(leaf) if grad is None else grad for leaf, grad in zip(leaves, found, strict=True)]
        return output_grad, counts_grad if self.with_counts else None, found


@given(case=cases())
@settings(max_examples=100)
def test_spikes_equal_the_reference(case):
    case = Case(**case)
    spikes, counts = spikes_forward(case.current, case.beta, *case.steps)
    their_spikes, their_counts = case.expected()
    assert torch.equal(spikes, their_spikes)
    assert torch.equal(counts, their_counts)
    output_grad, counts_grad, theirs = case.gradients(their_spikes, their_counts, [case.current, case.beta])
    ours = spikes_backward(case.current, case.beta, *case.fires, output_grad, counts_grad, needs_beta_grad=True)
    assert_close_to_rounding(ours, theirs)


@given(case=cases())
@settings(max_examples=100)
def test_projected_spikes_equal_the_reference_and_a_product(case):
    case = Case(**case)
    projected, counts = projection_forward(case.current, case.weight, case.bias, case.beta, *case.steps)
    their_spikes, their_counts = case.expected()
    their_projected = linear(their_spikes, case.weight, case.bias)
    assert torch.equal(counts, their_counts)
    assert_close_to_rounding([projected], [their_projected.detach()])
    leaves = [case.current, case.weight, case.beta]
    output_grad, counts_grad, theirs = case.gradients(their_projected, their_counts, leaves)
    settings = case.threshold, case.surrogate, case.spike_delay, output_grad, counts_grad
    assert_close_to_rounding(projection_backward(*leaves, *settings, needs_beta_grad=True), theirs)
    *ours, beta_grad = projection_backward(*leaves, *settings, needs_beta_grad=False)
    assert beta_grad is None
    assert_close_to_rounding(ours, theirs[:2])


def example(threads, is_constant):
    sizes = {"num_steps": 25, "batch": 5, "spike_delay": 0, "surrogate": "atan", "threshold": 1.0, "with_counts": True}
    return Case(seed=0, neurons=1000, outputs=10, threads=threads, is_constant=is_constant, **sizes)


@pytest.mark.parametrize("is_constant", [True, False])
def test_it_repeats_bit_by_bit_and_depends_on_threads_by_rounding_alone(is_constant):
    def outcome(threads):
        case = example(threads, is_constant)
        spikes, _ = spikes_forward(case.current, case.beta, *case.steps)
        projected, counts = projection_forward(case.current, case.weight, case.bias, case.beta, *case.steps)
        spikes_grad, projected_grad = case.normal(*spikes.shape).detach(), case.normal(*projected.shape).detach()
        by_spikes = spikes_backward(case.current, case.beta, *case.fires, spikes_grad, counts, needs_beta_grad=True)
        settings = case.threshold, case.surrogate, case.spike_delay, projected_grad, counts
        by_projection = projection_backward(case.current, case.weight, case.beta, *settings, needs_beta_grad=True)
        return spikes, counts, projected, by_spikes[0], by_projection[0], *by_spikes[1:], *by_projection[1:]

    alone = outcome(1)
    for threads in (1, 2, 3, 7):
        once, again = outcome(threads), outcome(threads)
        assert all(map(torch.equal, once, again))
        assert all(map(torch.equal, once[:5], alone[:5]))  # an image's results do not depend on the others
        assert_close_to_rounding(once, alone)


def test_tensors_of_any_layout_are_understood():
    case = example(threads=2, is_constant=False)
    turned = case.current.detach().transpose(1, 2).contiguous().transpose(1, 2)
    spikes, _ = spikes_forward(turned, case.beta, *case.steps)
    assert torch.equal(spikes, case.expected()[0])
    expanded = torch.ones(()).expand(spikes.shape)
    expected = spikes_backward(case.current, case.beta, *case.fires, expanded.contiguous(), None, needs_beta_grad=True)
    found = spikes_backward(turned, case.beta, *case.fires, expanded, None, needs_beta_grad=True)
    assert all(map(torch.equal, found, expected))


@pytest.mark.parametrize(("current", "count"), [(-1.0, 0), (5.0, 25)])
def test_neurons_may_all_be_silent_or_all_fire(current, count):
    case = example(threads=2, is_constant=True)
    constant = torch.full_like(case.current, current).detach()
    projected, counts = projection_forward(constant, case.weight, case.bias, case.beta, *case.steps)
    assert counts.unique().tolist() == [count]
    expected = linear(torch.full((25, 5, 1000), count / 25), case.weight, case.bias)
    assert_close_to_rounding([projected.detach()], [expected.detach()])


def test_other_sizes_compile_nothing():
    kernels = (cpu_steps._spikes_forward, cpu_steps._projection_forward, cpu_steps._steps_backward)
    for is_constant in (True, False):
        case = example(threads=1, is_constant=is_constant)
        spikes, counts = spikes_forward(case.current, case.beta, *case.steps)
        spikes_backward(case.current, case.beta, *case.fires, spikes, counts, needs_beta_grad=is_constant)
        projected, _ = projection_forward(case.current, case.weight, case.bias, case.beta, *case.steps)
        settings = case.threshold, case.surrogate, case.spike_delay, projected, None
        projection_backward(case.current, case.weight, case.beta, *settings, needs_beta_grad=is_constant)
    assert [len(kernel.overloads) for kernel in kernels] == [1, 1, 1]
