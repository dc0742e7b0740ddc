"""The LIF neuron on the CPU: time loops over blocks of neurons that stay in the cache.

Forward, every operation rounds as in the reference, so that spikes are equal to it bit by bit. Backward, sums may be
reordered, and the fused layer computes the membrane again rather than keep it.

The fused layer's current is constant in time, so that it needs no pass backward through time. With a[t] the gradient
that reaches U[t] by way of S[t], the gradient of U[t] is the sum of beta^(s-t) a[s] over all s >= t. Summed over t:

    dI    = sum_t a[t] w[t]   with   w[t] = 1 + beta w[t-1]        (how often the current is in the membrane)
    dbeta = sum_t a[t] v[t]   with   v[t] = U[t-1] + beta v[t-1]   (how the membrane changes with beta)

Both sums run forward in time, beside the membrane. For beta in [0, 1] neither grows faster than T or than the
membrane itself.
"""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lifline.choices import SurrogateName
from lifline.snn.kernels.threads import REORDERED, compiled, num_threads, on_all_threads, run, wide_vectors
from lifline.snn.surrogate import FAST_SIGMOID_SLOPE

BLOCK = 512
"""Neurons that a thread works on at a time: their state over `STEPS` steps stays in the cache."""

TILE = 5
"""Rows of weights, and steps, that are multiplied at a time."""

STEPS = 30
"""Steps for which a thread keeps state; in whole tiles of `TILE` steps, and of two."""

ATAN, FAST_SIGMOID, SPIKE_OPERATOR, STRAIGHT_THROUGH = range(4)
SURROGATE_CODES: dict[SurrogateName, int] = {
    "atan": ATAN,
    "fast_sigmoid": FAST_SIGMOID,
    "spike_operator": SPIKE_OPERATOR,
    "straight_through": STRAIGHT_THROUGH,
}

ZERO, ONE, PI = np.float32(0), np.float32(1), np.float32(math.pi)
SLOPE = np.float32(FAST_SIGMOID_SLOPE)

Array = NDArray[np.float32]


def lif_forward(
    current: Tensor, betas: Tensor, threshold: float, spike_delay: int, spikes: Tensor, membrane: Tensor
) -> None:
    """Fill `spikes` and `membrane`, `[T, B, N]`, from a current `[B, N]` or `[T, B, N]` and `betas` `[B, N]`."""
    threads = num_threads()
    run(
        _lif_forward,
        threads, _by_step(current), _by_step(betas)[0], np.float32(threshold), spike_delay,
        _by_step(spikes), _by_step(membrane), scratch(threads, BLOCK),
    )  # fmt: skip


def lif_backward(
    membrane: Tensor,
    betas: Tensor,
    threshold: float,
    surrogate: SurrogateName,
    spike_delay: int,
    spikes_grad: Tensor | None,
    membrane_grad: Tensor | None,
    current_grad: Tensor,
    beta_grads: Tensor | None,
) -> None:
    """Add to `current_grad`, shaped like the current, and to `beta_grads` `[B, N]`, both zero before."""
    threads = num_threads()
    run(
        _lif_backward,
        threads, _by_step(membrane), _by_step(betas)[0], np.float32(threshold), spike_delay,
        SURROGATE_CODES[surrogate], _by_step(spikes_grad), _by_step(membrane_grad),
        _by_step(current_grad), _by_step(beta_grads)[0],
        scratch(threads, BLOCK), scratch(threads, BLOCK), scratch(threads, BLOCK),
    )  # fmt: skip


def fused_forward(
    current: Tensor,
    weight: Tensor,
    bias: Tensor,
    beta: Tensor,
    threshold: float,
    spike_delay: int,
    projected: Tensor,
    counts: Tensor,
) -> None:
    """Fill `projected` `[T, B, C]` and `counts` `[B, N]` from a current `[B, N]` and `beta` `[N]`."""
    threads, columns = num_threads(), -(-len(weight) // TILE) * TILE
    run(
        _fused_forward,
        threads, as_array(current), as_array(beta), np.float32(threshold), spike_delay,
        as_array(weight), as_array(bias), as_array(projected), as_array(counts),
        scratch(threads, STEPS + 1, BLOCK), scratch(threads, STEPS, BLOCK),
        scratch(threads, columns, BLOCK), scratch(threads, STEPS, columns),
    )  # fmt: skip


def fused_backward(
    current: Tensor,
    weight: Tensor,
    beta: Tensor,
    threshold: float,
    surrogate: SurrogateName,
    spike_delay: int,
    projected_grad: Tensor,
    counts_grad: Tensor | None,
    needs_beta_grad: bool,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return the gradients of current, weight and, where it is needed, beta `[N]`."""
    threads, columns = num_threads(), -(-len(weight) // TILE) * TILE
    current_grad, weight_grads = current.new_empty(current.shape), weight.new_zeros(threads, *weight.shape)
    beta_grads = current.new_zeros(current.shape if needs_beta_grad else (0, 0))
    run(
        _fused_backward,
        threads, as_array(current), as_array(beta), np.float32(threshold), spike_delay, SURROGATE_CODES[surrogate],
        as_array(weight), as_array(projected_grad),
        as_array(current.new_empty(len(current), 0) if counts_grad is None else counts_grad),
        as_array(current_grad), as_array(weight_grads), as_array(beta_grads),
        *(scratch(threads, STEPS + 1, BLOCK) for _ in range(5)),
        *(scratch(threads, columns, BLOCK) for _ in range(2)), scratch(threads, STEPS, columns),
    )  # fmt: skip
    return current_grad, weight_grads.sum(0), beta_grads.sum(0) if needs_beta_grad else None


def as_array(tensor: Tensor) -> Array:
    """View a tensor as an array, of a copy where it is not contiguous."""
    return tensor.detach().contiguous().numpy()


def _by_step(tensor: Tensor | None) -> Array:
    """View `[T, B, N]` as `[T, B * N]` and `[B, N]` as `[1, B * N]`; None becomes `[1, 0]`."""
    if tensor is None:
        return np.empty((1, 0), np.float32)
    num_rows = len(tensor) if tensor.dim() == 3 else 1  # noqa: PLR2004
    return as_array(tensor.reshape(num_rows, -1))


def scratch(*shape: int) -> Array:
    """Make zeros at the start of a cache line, as PyTorch does: vectors that straddle two lines are half as fast."""
    return torch.zeros(shape, dtype=torch.float32, device="cpu").numpy()


# What follows is compiled by Numba. Blocks are arrays `[rows, BLOCK]`, of which the first n columns are in use.


@compiled()
def share(thread, num_threads, total):
    """Return where a thread's part of `range(total)` begins and ends."""
    return thread * total // num_threads, (thread + 1) * total // num_threads


@compiled(REORDERED)
def surrogate_product(n, num_rows, surrogate, membrane, first, threshold, factor, out):
    """Multiply `factor` by the surrogate derivative of a spike, for rows of both from `first`."""
    wide_vectors()
    for t in range(num_rows):
        charged, factors, products = membrane[first + t], factor[first + t], out[t]
        if surrogate == ATAN:
            for i in range(n):
                scaled = PI * (charged[i] - threshold)
                products[i] = factors[i] / (ONE + scaled * scaled)
        elif surrogate == FAST_SIGMOID:
            for i in range(n):
                scaled = ONE + SLOPE * abs(charged[i] - threshold)
                products[i] = factors[i] / (scaled * scaled)
        elif surrogate == SPIKE_OPERATOR:
            for i in range(n):
                products[i] = factors[i] * (ONE if charged[i] - threshold > ZERO else ZERO)
        else:
            for i in range(n):
                products[i] = factors[i]


@compiled()
def _fire(n, num_rows, membrane, first, threshold, spikes):
    wide_vectors()
    for t in range(num_rows):
        charged, fired = membrane[first + t], spikes[t]
        for i in range(n):
            fired[i] = ONE if charged[i] - threshold > ZERO else ZERO


# LIF by itself: arrays are `[T or 1, B * N]`, a constant current having one row.


@compiled()
def _lif_forward_kernel(thread, num_threads, current, beta, threshold, delay, spikes, membrane, states):
    wide_vectors()
    num_steps, num_neurons = membrane.shape
    state = states[thread]
    first, last = share(thread, num_threads, (num_neurons + BLOCK - 1) // BLOCK)
    for start in range(first * BLOCK, min(last * BLOCK, num_neurons), BLOCK):
        n = min(BLOCK, num_neurons - start)
        for i in range(n):
            state[i] = ZERO
        for t in range(min(delay, num_steps)):
            for i in range(n):
                spikes[t, start + i] = ZERO
        for t in range(num_steps):
            _charge(n, state, current[t % len(current), start:], beta[start:], threshold, membrane[t, start:])
            if t + delay < num_steps:
                _fire(n, 1, states, thread, threshold, spikes[t + delay :, start:])


@compiled()
def _charge(n, state, current, beta, threshold, membrane):
    wide_vectors()
    for i in range(n):
        reset = threshold if state[i] - threshold > ZERO else ZERO
        charged = beta[i] * state[i] + current[i] - reset
        state[i] = charged
        membrane[i] = charged


@compiled()
def _lif_backward_kernel(
    thread, num_threads, membrane, beta, threshold, delay, surrogate, spikes_grad, membrane_grad,
    current_grad, beta_grad, states, all_ones, all_slopes,
):  # fmt: skip
    wide_vectors()
    num_steps, num_neurons = membrane.shape
    state_grad, ones, slopes = states[thread], all_ones[thread : thread + 1], all_slopes[thread : thread + 1]
    for i in range(BLOCK):
        ones[0, i] = ONE
    first, last = share(thread, num_threads, (num_neurons + BLOCK - 1) // BLOCK)
    for start in range(first * BLOCK, min(last * BLOCK, num_neurons), BLOCK):
        n = min(BLOCK, num_neurons - start)
        for i in range(n):
            state_grad[i] = ZERO
        for t in range(num_steps - 1, -1, -1):
            scale(n, beta[start:], state_grad)
            if spikes_grad.size and t + delay < num_steps:
                surrogate_product(n, 1, surrogate, membrane[t:, start:], 0, threshold, ones, slopes)
                add_product(n, slopes[0], spikes_grad[t + delay, start:], state_grad)
            if membrane_grad.size:
                add_product(n, ones[0], membrane_grad[t, start:], state_grad)
            add_product(n, ones[0], state_grad, current_grad[t % len(current_grad), start:])
            if beta_grad.size and t > 0:
                add_product(n, state_grad, membrane[t - 1, start:], beta_grad[start:])


@compiled(REORDERED)
def scale(n, factor, values):
    """Do values[i] *= factor[i]."""
    wide_vectors()
    for i in range(n):
        values[i] *= factor[i]


@compiled(REORDERED)
def add_product(n, factor, values, total):
    """Do total[i] += factor[i] * values[i]."""
    wide_vectors()
    for i in range(n):
        total[i] += factor[i] * values[i]


# The fused layer: LIF neurons on a constant current `[B, N]`, and the projection of their spikes to `[T, B, C]`.


@compiled()
def _run(n, num_steps, current, b, start, beta, threshold, membrane):
    """Charge from a constant current. Row t + 1 is U[t]; row 0 is where the steps begin."""
    wide_vectors()
    currents, betas = current[b, start:], beta[start:]
    for t in range(num_steps):
        before, now = membrane[t], membrane[t + 1]
        for i in range(n):
            reset = threshold if before[i] - threshold > ZERO else ZERO
            now[i] = betas[i] * before[i] + currents[i] - reset


@compiled()
def _copy_columns(source, start, n, target):
    for row in range(len(source)):
        for i in range(n):
            target[row, i] = source[row, start + i]


@compiled()
def _fused_forward_kernel(
    thread, num_threads, current, beta, threshold, delay, weight, bias, projected, counts,
    membranes, all_spikes, weights, products,
):  # fmt: skip
    wide_vectors()
    num_steps, _, num_outputs = projected.shape
    num_fired = num_steps - delay
    membrane, spikes, weight_block, product = membranes[thread], all_spikes[thread], weights[thread], products[thread]
    first, last = share(thread, num_threads, len(current))
    for t in range(num_steps):
        for b in range(first, last):
            for c in range(num_outputs):
                projected[t, b, c] = bias[c]
    for start in range(0, current.shape[1], BLOCK):
        n = min(BLOCK, current.shape[1] - start)
        _copy_columns(weight, start, n, weight_block)
        for b in range(first, last):
            _clear(n, membrane, 0, 1)
            for i in range(n):
                counts[b, start + i] = ZERO
            for begin in range(0, num_fired, STEPS):
                steps = min(STEPS, num_fired - begin)
                _run(n, steps, current, b, start, beta, threshold, membrane)
                _fire(n, steps, membrane, 1, threshold, spikes)
                _count(n, steps, spikes, counts, b, start)
                _project(n, steps, spikes, weight_block, product)
                for t in range(steps):
                    for c in range(num_outputs):
                        projected[begin + t + delay, b, c] += product[t, c]
                _carry(n, steps, membrane)


@compiled()
def _count(n, num_steps, spikes, counts, b, start):
    wide_vectors()
    total = counts[b, start:]
    for t in range(num_steps):
        fired = spikes[t]
        for i in range(n):
            total[i] += fired[i]


@compiled()
def _fused_backward_kernel(
    thread, num_threads, current, beta, threshold, delay, surrogate, weight, projected_grad, counts_grad,
    current_grad, weight_grads, beta_grads,
    membranes, all_spikes, all_slopes, presences, growths, weights, weight_totals, gradients,
):  # fmt: skip
    wide_vectors()
    num_steps, _, num_outputs = projected_grad.shape
    num_fired = num_steps - delay
    membrane, spikes, slopes = membranes[thread], all_spikes[thread], all_slopes[thread]
    presence, growth = presences[thread], growths[thread]
    weight_block, weight_total, gradient = weights[thread], weight_totals[thread], gradients[thread]
    first, last = share(thread, num_threads, len(current))
    for start in range(0, current.shape[1], BLOCK):
        n = min(BLOCK, current.shape[1] - start)
        _copy_columns(weight, start, n, weight_block)
        for c in range(num_outputs):
            for i in range(n):
                weight_total[c, i] = ZERO
        for b in range(first, last):
            _clear(n, membrane, 0, 1)
            _clear(n, presence, 0, 1)
            _clear(n, growth, 0, 1)
            for i in range(n):
                current_grad[b, start + i] = ZERO
            for begin in range(0, num_fired, STEPS):
                steps = min(STEPS, num_fired - begin)
                _copy_steps(projected_grad, begin + delay, b, steps, gradient)
                _run(n, steps, current, b, start, beta, threshold, membrane)
                _fire(n, steps, membrane, 1, threshold, spikes)
                _add_weight_gradients(n, steps, num_outputs, gradient, spikes, weight_total)
                if b == first or num_fired > STEPS:  # else it is there already
                    _presence(n, steps, beta, start, presence)
                surrogate_product(n, steps, surrogate, membrane, 1, threshold, presence, slopes)
                _clear(n, slopes, steps, STEPS)
                _add_spike_gradients(n, steps, gradient, weight_block, slopes, current_grad, b, start)
                _add_count_gradients(n, steps, counts_grad, slopes, current_grad, b, start)
                if len(beta_grads):
                    _growth(n, steps, beta, start, membrane, growth)
                    surrogate_product(n, steps, surrogate, membrane, 1, threshold, growth, slopes)
                    _clear(n, slopes, steps, STEPS)
                    _add_spike_gradients(n, steps, gradient, weight_block, slopes, beta_grads, b, start)
                    _add_count_gradients(n, steps, counts_grad, slopes, beta_grads, b, start)
                if begin + steps < num_fired:
                    _carry(n, steps, membrane)
                    _carry(n, steps, presence)
                    _carry(n, steps, growth)
        for c in range(num_outputs):
            for i in range(n):
                weight_grads[thread, c, start + i] = weight_total[c, i]


@compiled()
def _clear(n, rows, begin, end):
    for t in range(begin, end):
        for i in range(n):
            rows[t, i] = ZERO


@compiled()
def _copy_steps(source, begin, b, num_steps, target):
    """Copy the steps of an image from `begin`; fill up with zeros."""
    for t in range(STEPS):
        for c in range(source.shape[2]):
            target[t, c] = source[begin + t, b, c] if t < num_steps else ZERO


@compiled()
def _carry(n, num_steps, rows):
    """Let the next steps begin where the last step ended."""
    for i in range(n):
        rows[0, i] = rows[num_steps, i]


@compiled(REORDERED)
def _presence(n, num_steps, beta, start, presence):
    """Compute w[t] of this module's introduction, in row t + 1."""
    wide_vectors()
    betas = beta[start:]
    for t in range(num_steps):
        before, now = presence[t], presence[t + 1]
        for i in range(n):
            now[i] = ONE + betas[i] * before[i]


@compiled(REORDERED)
def _growth(n, num_steps, beta, start, membrane, growth):
    """Compute v[t] of this module's introduction, in row t + 1."""
    wide_vectors()
    betas = beta[start:]
    for t in range(num_steps):
        charged_before, before, now = membrane[t], growth[t], growth[t + 1]
        for i in range(n):
            now[i] = charged_before[i] + betas[i] * before[i]


@compiled(REORDERED)
def _add_count_gradients(n, num_steps, gradient, factor, total, b, start):
    """Do total[b, i] += gradient[b, i] sum_t factor[t, i], where there is a gradient."""
    wide_vectors()
    if gradient.size:
        gradients, sums = gradient[b, start:], total[b, start:]
        for t in range(num_steps):
            factors = factor[t]
            for i in range(n):
                sums[i] += gradients[i] * factors[i]


# The fused layer's products with the weights, in tiles, written out so that LLVM keeps them in registers.


@compiled()
def _five(array, first):
    return array[first], array[first + 1], array[first + 2], array[first + 3], array[first + 4]


@compiled()
def _put_five(array, first, x0, x1, x2, x3, x4):
    array[first], array[first + 1], array[first + 2], array[first + 3], array[first + 4] = x0, x1, x2, x3, x4


@compiled(REORDERED)
def _project(n, num_steps, spikes, weight, out):
    """Do out[t, c] = sum_i spikes[t, i] weight[c, i], by two steps and five rows of weights at a time."""
    wide_vectors()
    for t in range(0, num_steps, 2):
        x, y = spikes[t], spikes[t + 1]
        for c in range(0, len(weight), TILE):
            w0, w1, w2, w3, w4 = _five(weight, c)
            x0 = x1 = x2 = x3 = x4 = y0 = y1 = y2 = y3 = y4 = ZERO
            for i in range(n):
                x0 += x[i] * w0[i]
                x1 += x[i] * w1[i]
                x2 += x[i] * w2[i]
                x3 += x[i] * w3[i]
                x4 += x[i] * w4[i]
                y0 += y[i] * w0[i]
                y1 += y[i] * w1[i]
                y2 += y[i] * w2[i]
                y3 += y[i] * w3[i]
                y4 += y[i] * w4[i]
            _put_five(out[t], c, x0, x1, x2, x3, x4)
            _put_five(out[t + 1], c, y0, y1, y2, y3, y4)


@compiled(REORDERED)
def _add_spike_gradients(n, num_steps, gradient, weight, factor, total, b, start):
    """Do total[b, i] += sum_t factor[t, i] sum_c gradient[t, c] weight[c, i]."""
    wide_vectors()
    sums = total[b, start:]
    for t in range(0, num_steps, 2):
        f, h = factor[t], factor[t + 1]
        for c in range(0, len(weight), TILE):
            w0, w1, w2, w3, w4 = _five(weight, c)
            f0, f1, f2, f3, f4 = _five(gradient[t], c)
            h0, h1, h2, h3, h4 = _five(gradient[t + 1], c)
            for i in range(n):
                at_f = f0 * w0[i] + f1 * w1[i] + f2 * w2[i] + f3 * w3[i] + f4 * w4[i]
                at_h = h0 * w0[i] + h1 * w1[i] + h2 * w2[i] + h3 * w3[i] + h4 * w4[i]
                sums[i] += f[i] * at_f + h[i] * at_h


@compiled(REORDERED)
def _add_weight_gradients(n, num_steps, num_outputs, gradient, spikes, total):
    """Do total[c, i] += sum_t gradient[t, c] spikes[t, i], by five steps at a time."""
    wide_vectors()
    for t in range(0, num_steps, TILE):
        s0, s1, s2, s3, s4 = _five(spikes, t)
        for c in range(num_outputs):
            g0, g1, g2, g3, g4 = _five(gradient[:, c], t)
            row = total[c]
            for i in range(n):
                row[i] += g0 * s0[i] + g1 * s1[i] + g2 * s2[i] + g3 * s3[i] + g4 * s4[i]


_launch_lif_forward = on_all_threads(_lif_forward_kernel)
_launch_lif_backward = on_all_threads(_lif_backward_kernel)
_launch_fused_forward = on_all_threads(_fused_forward_kernel)
_launch_fused_backward = on_all_threads(_fused_backward_kernel)


@compiled()
def _lif_forward(num_threads, *arguments):
    _launch_lif_forward(num_threads, arguments)


@compiled()
def _lif_backward(num_threads, *arguments):
    _launch_lif_backward(num_threads, arguments)


@compiled()
def _fused_forward(num_threads, *arguments):
    _launch_fused_forward(num_threads, arguments)


@compiled()
def _fused_backward(num_threads, *arguments):
    _launch_fused_backward(num_threads, arguments)
