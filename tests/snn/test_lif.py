import itertools
import math
import re
from functools import cache, partial

import numpy as np
import pytest
import snntorch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from snntorch import surrogate as snntorch_surrogate
from torch import nn

from lifline.snn import lif, lif_linear

SNNTORCH_SURROGATES = {
    "atan": snntorch_surrogate.atan(),
    "fast_sigmoid": snntorch_surrogate.fast_sigmoid(),
    "straight_through": snntorch_surrogate.straight_through_estimator(),
}

betas = st.one_of(st.sampled_from([0.0, 1.0, 0.5]), st.floats(0, 1, width=32))
thresholds = st.floats(0.0078125, 8, width=32)
finite_currents = st.floats(-4, 4, width=32)
any_currents = st.one_of(finite_currents, st.sampled_from([math.inf, -math.inf, math.nan]))


def simulate(current: np.ndarray, beta: float, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """One neuron at a time, one step at a time, in float32 arithmetic; current is [T, B, N]."""
    beta, threshold = np.float32(beta), np.float32(threshold)
    spikes, membranes = np.zeros_like(current), np.zeros_like(current)
    with np.errstate(all="ignore"):
        for image in range(current.shape[1]):
            for neuron in range(current.shape[2]):
                membrane = spike = np.float32(0)
                for step in range(current.shape[0]):
                    membrane = beta * membrane + current[step, image, neuron] - threshold * spike
                    spike = np.float32(membrane > threshold)
                    membranes[step, image, neuron], spikes[step, image, neuron] = membrane, spike
    return spikes, membranes


def currents(elements, axes: int):
    shapes = hnp.array_shapes(min_dims=axes, max_dims=axes, min_side=1, max_side=9)
    return shapes.flatmap(lambda shape: hnp.arrays(np.float32, shape, elements=elements))


def run_snntorch(current, beta, threshold, spike_grad, **options):
    """current: a list of T tensors [B, N]."""
    neuron = snntorch.Leaky(
        beta=beta, threshold=threshold, spike_grad=spike_grad, reset_mechanism="subtract", **options
    )
    membrane = neuron.init_leaky()
    spikes, membranes = [], []
    for current_now in current:
        spike, membrane = neuron(current_now, membrane)
        spikes.append(spike)
        membranes.append(membrane)
    return torch.stack(spikes), torch.stack(membranes), neuron


class TutorialNeuron(nn.Module):
    """The neuron that snnTorch's tutorial 5 writes out, from its equations: it fires by the membrane before."""

    class SpikeOperator(torch.autograd.Function):
        @staticmethod
        def forward(ctx, distance):
            spike = (distance > 0).to(distance.dtype)
            ctx.save_for_backward(spike)
            return spike

        @staticmethod
        def backward(ctx, gradient):
            (spike,) = ctx.saved_tensors
            return gradient * spike

    def __init__(self, beta, threshold):
        super().__init__()
        self.beta, self.threshold = beta, threshold

    def forward(self, current, membrane):
        spike = self.SpikeOperator.apply(membrane - self.threshold)
        reset = (spike * self.threshold).detach()
        return spike, self.beta * membrane + current - reset


@given(current=currents(any_currents, axes=3), beta=betas, threshold=thresholds)
def test_varying_current_equals_a_simulation_neuron_by_neuron(current, beta, threshold):
    spikes, membrane = lif(torch.from_numpy(current), beta, threshold)
    expected_spikes, expected_membrane = simulate(current, beta, threshold)
    np.testing.assert_array_equal(spikes.numpy(), expected_spikes)
    np.testing.assert_array_equal(membrane.numpy(), expected_membrane)


@given(current=currents(any_currents, axes=2), beta=betas, threshold=thresholds, num_steps=st.integers(1, 12))
def test_constant_current_is_that_current_at_every_step(current, beta, threshold, num_steps):
    constant = lif(torch.from_numpy(current), beta, threshold, num_steps=num_steps)
    repeated = lif(torch.from_numpy(current).expand(num_steps, -1, -1), beta, threshold)
    for one, other in zip(constant, repeated, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0, equal_nan=True)


def test_a_neuron_fires_above_its_threshold_and_not_at_it():
    at = torch.tensor([[1.0]])
    above = torch.nextafter(at, torch.tensor(2.0))
    below = torch.nextafter(at, torch.tensor(0.0))
    spikes, _ = lif(torch.cat([below, at, above], dim=1), beta=0.5, num_steps=1)
    assert spikes.flatten().tolist() == [0.0, 0.0, 1.0]


def test_a_known_neuron_by_hand():
    # beta 0.5, threshold 1, current 0.75: 0.75 | 0.375 + 0.75 fires | 0.5625 + 0.75 - 1 | 0.15625 + 0.75
    spikes, membrane = lif(torch.tensor([[0.75]]), beta=0.5, num_steps=4)
    assert membrane.flatten().tolist() == [0.75, 1.125, 0.3125, 0.90625]
    assert spikes.flatten().tolist() == [0.0, 1.0, 0.0, 0.0]


@pytest.mark.parametrize("surrogate", SNNTORCH_SURROGATES)
@pytest.mark.parametrize("num_steps", [1, 2, 25])
def test_equal_to_snntorch_in_value_and_gradient(surrogate, num_steps):
    generator = torch.Generator().manual_seed(num_steps)
    current = 2 * torch.randn(num_steps, 3, 7, generator=generator)
    weights = torch.randn(2, num_steps, 3, 7, generator=generator)
    beta = torch.rand(7, generator=generator)

    ours = current.clone().requires_grad_()
    our_beta = beta.clone().requires_grad_()
    spikes, membrane = lif(ours, our_beta, threshold=0.8, surrogate=surrogate)
    (weights[0] * spikes + weights[1] * membrane).sum().backward()

    theirs = current.clone().requires_grad_()
    their_spikes, their_membrane, neuron = run_snntorch(
        theirs, beta, 0.8, SNNTORCH_SURROGATES[surrogate], learn_beta=True
    )
    (weights[0] * their_spikes + weights[1] * their_membrane).sum().backward()

    assert torch.equal(spikes, their_spikes)
    assert torch.equal(membrane, their_membrane)
    torch.testing.assert_close(ours.grad, theirs.grad)
    torch.testing.assert_close(our_beta.grad, neuron.beta.grad)


@pytest.mark.parametrize("surrogate", SNNTORCH_SURROGATES)
def test_constant_current_has_snntorchs_gradient(surrogate):
    generator = torch.Generator().manual_seed(0)
    current = 2 * torch.randn(4, 5, generator=generator)
    weights = torch.randn(9, 4, 5, generator=generator)
    ours, theirs = current.clone().requires_grad_(), current.clone().requires_grad_()
    scalar_beta = torch.tensor(0.9, requires_grad=True)

    (weights * lif(ours, scalar_beta, num_steps=9, surrogate=surrogate)[0]).sum().backward()
    spikes, _, neuron = run_snntorch([theirs] * 9, 0.9, 1.0, SNNTORCH_SURROGATES[surrogate], learn_beta=True)
    (weights * spikes).sum().backward()

    torch.testing.assert_close(ours.grad, theirs.grad)
    torch.testing.assert_close(scalar_beta.grad, neuron.beta.grad)


LONG, BATCH, NEURONS = 1000, 2, (4, 3, 2)
LONG_RUNS = list(itertools.product([0.5, 0.95], [0.5, 1.7]))
"""Decay and threshold of runs over `LONG` steps; snnTorch does them side by side, each step by step in Python."""


def long_run_inputs():
    """Currents and the weights of spikes and membrane in what is differentiated, `[T, runs, B, C, H, W]` each."""
    return torch.randn(3, LONG, len(LONG_RUNS), BATCH, *NEURONS, generator=torch.Generator().manual_seed(0))


@cache
def long_runs_of_snntorch(surrogate):
    current, spike_weights, membrane_weights = long_run_inputs()
    beta, threshold = (torch.tensor(values).reshape(-1, 1, 1, 1, 1) for values in zip(*LONG_RUNS, strict=True))
    leaf = current.requires_grad_()
    spike_grad = {**SNNTORCH_SURROGATES, "spike_operator": TutorialNeuron.SpikeOperator.apply}[surrogate]
    spikes, membrane, _ = run_snntorch(leaf, beta, threshold, spike_grad)
    (gradient,) = torch.autograd.grad((spike_weights * spikes + membrane_weights * membrane).sum(), leaf)
    return spikes.detach(), membrane.detach(), gradient


@pytest.mark.parametrize("layout", ["flat", "conv", "channels last"])
@pytest.mark.parametrize("run", range(len(LONG_RUNS)), ids=lambda run: "{}-{}".format(*LONG_RUNS[run]))
@pytest.mark.parametrize("surrogate", [*SNNTORCH_SURROGATES, "spike_operator"])
def test_equal_to_snntorch_over_a_thousand_steps(surrogate, run, layout):
    current, spike_weights, membrane_weights = (tensor[:, run] for tensor in long_run_inputs())
    if layout == "channels last":
        current = current.movedim(2, -1).contiguous().movedim(-1, 2)
    leaf = (current.flatten(2) if layout == "flat" else current).requires_grad_()
    beta, threshold = LONG_RUNS[run]
    spikes, membrane = (output.reshape(current.shape) for output in lif(leaf, beta, threshold, surrogate=surrogate))
    (gradient,) = torch.autograd.grad((spike_weights * spikes + membrane_weights * membrane).sum(), leaf)

    their_spikes, their_membrane, their_gradient = (tensor[:, run] for tensor in long_runs_of_snntorch(surrogate))
    assert 0.01 < spikes.mean() < 0.99
    assert torch.equal(spikes, their_spikes)
    assert torch.equal(membrane, their_membrane)
    error = (gradient.reshape(current.shape) - their_gradient).abs().max()
    assert error <= 5e-7 * their_gradient.abs().max()


@given(current=currents(finite_currents, axes=3), beta=betas, threshold=thresholds)
@settings(max_examples=50)
def test_spike_delay_1_is_the_tutorials_neuron(current, beta, threshold):
    ours = torch.from_numpy(current).requires_grad_()
    theirs = torch.from_numpy(current.copy()).requires_grad_()
    spikes, membrane = lif(ours, beta, threshold, surrogate="spike_operator", spike_delay=1)

    neuron = TutorialNeuron(beta, threshold)
    their_membrane = torch.zeros_like(theirs[0])
    their_spikes, their_membranes = [], []
    for current_now in theirs:
        spike, their_membrane = neuron(current_now, their_membrane)
        their_spikes.append(spike)
        their_membranes.append(their_membrane)
    assert torch.equal(spikes, torch.stack(their_spikes))
    assert torch.equal(membrane, torch.stack(their_membranes))

    (spikes.sum() + membrane.square().sum()).backward()
    (torch.stack(their_spikes).sum() + torch.stack(their_membranes).square().sum()).backward()
    torch.testing.assert_close(ours.grad, theirs.grad)


PRIMITIVES = {
    "atan": lambda x: torch.atan(math.pi * x) / math.pi,
    "fast_sigmoid": lambda x: x / (1 + 25 * x.abs()),
    "straight_through": lambda x: x,
}


@pytest.mark.parametrize("surrogate", PRIMITIVES)
@pytest.mark.parametrize("spike_delay", [0, 1])
def test_gradients_are_finite_differences_of_the_smooth_spike(surrogate, spike_delay):
    """With the resets held fixed and a spike replaced by the surrogate's primitive, all is smooth."""
    generator = torch.Generator().manual_seed(1)
    current = 2 * torch.randn(6, 2, 3, generator=generator, dtype=torch.float64)
    beta = torch.rand(3, generator=generator, dtype=torch.float64)
    spike_weights, membrane_weights = torch.randn(2, 6, 2, 3, generator=generator, dtype=torch.float64)
    fixed_spikes, _ = lif(current, beta)

    def smooth(current, beta):
        membrane = torch.zeros_like(current[0])
        total = torch.zeros((), dtype=current.dtype)
        for step in range(len(current)):
            reset = fixed_spikes[step - 1] if step > 0 else 0.0
            membrane = beta * membrane + current[step] - reset
            total = total + (membrane_weights[step] * membrane).sum()
            if step + spike_delay < len(current):
                spike = PRIMITIVES[surrogate](membrane - 1.0)
                total = total + (spike_weights[step + spike_delay] * spike).sum()
        return total

    def difference(function, argument, index, width=1e-6):
        shift = torch.zeros_like(argument)
        shift[index] = width
        return ((function(argument + shift) - function(argument - shift)) / (2 * width)).item()

    current.requires_grad_(), beta.requires_grad_()
    spikes, membrane = lif(current, beta, surrogate=surrogate, spike_delay=spike_delay)
    (spike_weights * spikes + membrane_weights * membrane).sum().backward()
    with torch.no_grad():
        for index in np.ndindex(*current.shape):
            by_difference = difference(lambda value: smooth(value, beta), current, index)
            assert current.grad[index].item() == pytest.approx(by_difference, rel=1e-5, abs=1e-8)
        for index in range(3):
            by_difference = difference(lambda value: smooth(current, value), beta, index)
            assert beta.grad[index].item() == pytest.approx(by_difference, rel=1e-5, abs=1e-8)


def test_nothing_is_kept_between_calls():
    loud, quiet = torch.full((2, 3), 5.0), torch.full((2, 3), 0.01)
    before = lif(quiet, 0.95, num_steps=10)
    lif(loud, 0.95, num_steps=10)
    after = lif(quiet, 0.95, num_steps=10)
    assert torch.equal(before[0], after[0])
    assert torch.equal(before[1], after[1])
    assert after[0].sum() == 0


def test_the_current_is_left_as_it_was():
    current = torch.ones(4, 2, 3)
    lif(current, 0.9)
    assert torch.equal(current, torch.ones(4, 2, 3))


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"current": torch.zeros(2, 3), "num_steps": 0}, "num_steps=0"),
        ({"current": torch.zeros(2, 3), "num_steps": -1}, "num_steps=-1"),
        ({"current": torch.zeros(2, 3), "num_steps": math.nan}, "num_steps=nan"),
        ({"current": torch.zeros(2, 3), "num_steps": True}, "num_steps=True"),
        ({"current": torch.zeros(2, 3), "num_steps": 4.0}, "num_steps=4.0"),
        ({"current": torch.zeros(2, 3), "num_steps": "4"}, "num_steps='4'"),
        ({"current": torch.zeros(0, 2, 3)}, "[0, 2, 3]"),
        ({"current": torch.zeros(3)}, "[3] with num_steps=None"),
        ({"current": torch.tensor(0.0), "num_steps": 4}, "[]"),
        ({"current": torch.zeros(4, 2, 3, dtype=torch.int64)}, "current is of torch.int64"),
        ({"beta": 1.5}, "beta is 1.5"),
        ({"beta": math.nan}, "beta is nan"),
        ({"beta": torch.tensor(1.5)}, "beta is 1.5"),
        ({"beta": torch.tensor([0.5, -0.5, 0.5])}, "beta is -0.5"),
        ({"beta": torch.tensor([0.5, 0.5, math.nan], requires_grad=True)}, "beta is nan"),
        ({"beta": "0.5"}, "beta is '0.5'"),
        ({"beta": True}, "beta is True"),
        ({"beta": None}, "beta is None"),
        ({"beta": np.float32(1.5)}, "beta is 1.5"),
        ({"threshold": 0.0}, "threshold is 0.0"),
        ({"threshold": -1}, "threshold is -1.0"),
        ({"threshold": "1"}, "threshold is '1'"),
        ({"threshold": True}, "threshold is True"),
        ({"threshold": torch.tensor(-1.0)}, "threshold is -1.0"),
        ({"threshold": torch.tensor(1e39, dtype=torch.float64)}, "threshold is 1e+39"),
        ({"threshold": torch.tensor([1.0, math.nan, 1.0], requires_grad=True)}, "threshold is nan"),
        ({"threshold": torch.ones(2)}, "threshold has the shape [2]; allowed are [] and [3]"),
        ({"threshold": 1e39}, "threshold is 1e+39"),
        ({"threshold": 1e-50}, "threshold is 1e-50"),
        ({"current": torch.zeros(4, 2, 3, dtype=torch.bfloat16), "threshold": 1e39}, "threshold is 1e+39"),
        ({"threshold": math.nan}, "threshold is nan"),
        ({"threshold": math.inf}, "threshold is inf"),
        ({"beta": torch.zeros(1, 3)}, "beta has the shape [1, 3]"),
        ({"surrogate": "tanh"}, "surrogate is 'tanh'"),
        ({"spike_delay": 2}, "spike_delay is 2"),
        ({"spike_delay": True}, "spike_delay is True"),
        ({"spike_delay": 1.0}, "spike_delay is 1.0"),
    ],
)
def test_a_wrong_argument_is_named(arguments, named):
    arguments = {"current": torch.zeros(4, 2, 3), "beta": 0.9, **arguments}
    for function in (lif, partial(lif_linear, weight=torch.zeros(5, 3), bias=torch.zeros(5))):
        with pytest.raises(ValueError, match="allowed") as raised:
            function(**arguments)
        assert named in str(raised.value)
        assert "\n" not in str(raised.value)


@pytest.mark.parametrize(("current", "kind"), [(np.ones((2, 3)), "numpy.ndarray"), ([[1.0]], "builtins.list")])
def test_what_is_no_tensor_is_told_so(current, kind):
    for function in (lif, partial(lif_linear, weight=torch.zeros(5, 3), bias=torch.zeros(5))):
        with pytest.raises(ValueError, match=f"^a {kind} is no torch.Tensor; torch.as_tensor makes one of it$"):
            function(current, beta=0.9, num_steps=3)


@pytest.mark.parametrize(
    ("shape", "num_steps", "told"), [([4, 2], None, "without num_steps is [T, B]"), ([2], 4, "with num_steps is [B]")]
)
def test_of_one_neuron_there_is_one_beta(shape, num_steps, told):
    allowed = f"beta has the shape [2]; allowed is [], as a current {shape} {told}"
    with pytest.raises(ValueError, match=f"^{re.escape(allowed)}$"):
        lif(torch.zeros(shape), beta=torch.ones(2), num_steps=num_steps)


def test_a_threshold_beyond_float32_is_fine_in_float64():
    current = torch.full((1, 1), 3e39, dtype=torch.float64)
    spikes, _ = lif(current, beta=0.5, threshold=1e39, num_steps=2)
    assert spikes.flatten().tolist() == [1.0, 1.0]


def test_numbers_may_be_numpys():
    current, leaves = torch.ones(2, 3), (torch.ones(4, 3), torch.ones(4))
    numpys = {
        "beta": np.float64(0.5),
        "threshold": np.float32(0.5),
        "num_steps": np.int64(4),
        "spike_delay": np.int8(1),
    }
    numbers = {"beta": 0.5, "threshold": 0.5, "num_steps": 4, "spike_delay": 1}
    assert all(map(torch.equal, lif(current, **numpys), lif(current, **numbers)))
    assert all(map(torch.equal, lif_linear(current, *leaves, **numpys), lif_linear(current, *leaves, **numbers)))
