"""LIF neurons on the CPU for any current, of which only the current is kept for the backward pass.

What a backward pass wants to know of the membranes is computed again, for `BLOCK` neurons of an image at a time. A
projection of the spikes to few outputs is fused: spikes `[T, B, N]` are not stored either. Forward, it adds up the
weights of the neurons that fire, and so does the gradient of the weights.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lifline.choices import SurrogateName
from lifline.snn.kernels.cpu import (
    BLOCK,
    ONE,
    SURROGATE_CODES,
    ZERO,
    Array,
    add_product,
    as_array,
    scale,
    scratch,
    share,
    surrogate_product,
)
from lifline.snn.kernels.threads import compiled, num_threads, on_all_threads, run, wide_vectors
from lifline.snn.kernels.vectors import (
    LANES,
    add,
    add_scaled,
    filled_up,
    in_vectors,
    load,
    store,
    store_where_above,
    zeros_64,
)

PANEL = 64
"""Neurons whose weights are multiplied while they are in the cache; `BLOCK` holds whole panels."""


def spikes_forward(
    current: Tensor, beta: Tensor, threshold: float, num_steps: int, spike_delay: int
) -> tuple[Tensor, Tensor]:
    """Return spikes `[T, B, N]` and counts `[B, N]` for a current `[B, N]` or `[T, B, N]` and `beta` `[N]`."""
    threads = num_threads()
    spikes, counts = current.new_empty(num_steps, *current.shape[-2:]), current.new_empty(current.shape[-2:])
    run(
        _spikes_forward,
        threads, _steps(current), as_array(beta), np.float32(threshold), spike_delay,
        as_array(spikes), as_array(counts), scratch(threads, BLOCK),
    )  # fmt: skip
    return spikes, counts


def spikes_backward(
    current: Tensor,
    beta: Tensor,
    threshold: float,
    num_steps: int,
    surrogate: SurrogateName,
    spike_delay: int,
    spikes_grad: Tensor | None,
    counts_grad: Tensor | None,
    needs_beta_grad: bool,
) -> tuple[Tensor, Tensor | None]:
    """Return the gradients of current and, where it is needed, beta `[N]`."""
    no_weight, no_projection = current.new_empty(0, current.shape[-1]), current.new_empty(0, 0, 0)
    current_grad, _, beta_grad = _backward(
        current, no_weight, beta, threshold, num_steps, surrogate, spike_delay,
        no_projection, spikes_grad, counts_grad, needs_beta_grad,
    )  # fmt: skip
    return current_grad, beta_grad


def projection_forward(
    current: Tensor, weight: Tensor, bias: Tensor, beta: Tensor, threshold: float, num_steps: int, spike_delay: int
) -> tuple[Tensor, Tensor]:
    """Return projected spikes `[T, B, C]` and counts `[B, N]`; arguments as in `spikes_forward`, weight `[C, N]`."""
    threads = num_threads()
    counts = current.new_empty(current.shape[-2:])
    projected = current.new_empty(num_steps, current.shape[-2], len(weight))
    run(
        _projection_forward,
        threads, _steps(current), as_array(beta), np.float32(threshold), spike_delay,
        _columns(weight), as_array(bias), as_array(projected), as_array(counts),
        scratch(threads, BLOCK), integers(threads, BLOCK + LANES), scratch(threads, filled_up(len(weight))),
    )  # fmt: skip
    return projected, counts


def projection_backward(
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
    return _backward(
        current, weight, beta, threshold, len(projected_grad), surrogate, spike_delay,
        projected_grad, None, counts_grad, needs_beta_grad,
    )  # fmt: skip


def _backward(
    current: Tensor,
    weight: Tensor,
    beta: Tensor,
    threshold: float,
    num_steps: int,
    surrogate: SurrogateName,
    spike_delay: int,
    projected_grad: Tensor,
    spikes_grad: Tensor | None,
    counts_grad: Tensor | None,
    needs_beta_grad: bool,
) -> tuple[Tensor, Tensor, Tensor | None]:
    threads, (outputs, neurons) = num_threads(), weight.shape
    lanes = filled_up(outputs)
    current_grad = current.new_empty(current.shape)
    weight_grads = weight.new_zeros(threads, neurons, lanes)
    beta_grads = beta.new_zeros(threads, neurons if needs_beta_grad else 0)
    run(
        _steps_backward,
        threads, _steps(current), as_array(beta), np.float32(threshold), num_steps, spike_delay,
        SURROGATE_CODES[surrogate], len(weight), _panels(weight), _filled_steps(projected_grad, lanes),
        as_array(current.new_empty(0, 0, 0) if spikes_grad is None else spikes_grad),
        as_array(current.new_empty(0, 0) if counts_grad is None else counts_grad),
        _steps(current_grad), as_array(weight_grads).reshape(threads, -1), as_array(beta_grads),
        scratch(threads, num_steps, BLOCK + LANES), integers(threads, BLOCK + LANES),
        scratch(threads, num_steps, BLOCK), *(scratch(threads, 1, BLOCK) for _ in range(3)),
    )  # fmt: skip
    weight_grad = weight_grads.sum(0).T[:outputs]
    return current_grad, weight_grad, beta_grads.sum(0) if needs_beta_grad else None


def _steps(current: Tensor) -> Array:
    """View a current as `[T or 1, B, N]`."""
    return as_array(current).reshape(current.shape[:-2].numel(), *current.shape[-2:])


def _columns(weight: Tensor) -> Array:
    """Return the weights of each neuron, filled up, `[N, lanes]`, one after another."""
    columns = weight.new_zeros(weight.shape[1], filled_up(len(weight)))
    columns[:, : len(weight)] = weight.detach().T
    return columns.numpy().reshape(-1)


def _panels(weight: Tensor) -> Array:
    """Return the weights of 64 neurons after those of 64 others, `[N / 64, C, 64]`, filled up."""
    (outputs, neurons), num_panels = weight.shape, filled_up(weight.shape[1], PANEL) // PANEL
    rows = weight.new_zeros(outputs, num_panels * PANEL)
    rows[:, :neurons] = weight.detach()
    return rows.reshape(outputs, num_panels, PANEL).transpose(0, 1).contiguous().numpy().reshape(-1)


def _filled_steps(projected_grad: Tensor, lanes: int) -> Array:
    """Return gradients filled up, `[T, B, lanes]`."""
    filled = projected_grad.new_zeros(*projected_grad.shape[:2], lanes)
    filled[..., : projected_grad.shape[2]] = projected_grad.detach()
    return filled.numpy()


def integers(*shape: int) -> NDArray[np.int32]:
    """Make zeros, as `scratch` does."""
    return torch.zeros(shape, dtype=torch.int32, device="cpu").numpy()


# What follows is compiled by Numba.


@compiled()
def _spikes_forward_kernel(thread, num_threads, current, beta, threshold, delay, spikes, counts, states):
    wide_vectors()
    (num_steps, batch, neurons), state = spikes.shape, states[thread]
    first, last = share(thread, num_threads, batch)
    for b in range(first, last):
        for start in range(0, neurons, BLOCK):
            n = min(BLOCK, neurons - start)
            betas, total = beta[start:], counts[b, start:]
            for i in range(n):
                state[i] = total[i] = ZERO
            for t in range(min(delay, num_steps)):
                for i in range(n):
                    spikes[t, b, start + i] = ZERO
            for t in range(num_steps - delay):
                charge(n, current[t % len(current), b, start:], betas, threshold, state)
                _fire_and_count(n, state, threshold, spikes[t + delay, b, start:], total)


@compiled()
def charge(n, current, beta, threshold, state):
    """Let the neurons' membranes take one step."""
    wide_vectors()
    for i in range(n):
        reset = threshold if state[i] - threshold > ZERO else ZERO
        state[i] = beta[i] * state[i] + current[i] - reset


@compiled()
def _fire_and_count(n, state, threshold, spikes, total):
    wide_vectors()
    for i in range(n):
        fired = ONE if state[i] - threshold > ZERO else ZERO
        spikes[i] = fired
        total[i] += fired


@compiled()
def _projection_forward_kernel(
    thread, num_threads, current, beta, threshold, delay, weight, bias, projected, counts, states, all_fired, totals,
):  # fmt: skip
    wide_vectors()
    (num_steps, batch, outputs), neurons = projected.shape, counts.shape[1]
    state, fired, total = states[thread], all_fired[thread], totals[thread]
    first, last = share(thread, num_threads, batch)
    for b in range(first, last):
        for t in range(num_steps):
            for c in range(outputs):
                projected[t, b, c] = bias[c]
    for start in range(0, neurons, BLOCK):
        n = min(BLOCK, neurons - start)
        for b in range(first, last):
            for i in range(n):
                state[i] = counts[b, start + i] = ZERO
            for t in range(num_steps - delay):
                charge(n, current[t % len(current), b, start:], beta[start:], threshold, state)
                num_fired = _list_spikes(n, state, threshold, fired)
                for j in range(num_fired):
                    counts[b, start + fired[j]] += ONE
                in_vectors(_add_columns, len(total), (start, fired, num_fired, weight, total))
                for c in range(outputs):
                    projected[t + delay, b, c] += total[c]


@compiled()
def _list_spikes(n, membrane, threshold, fired):
    wide_vectors()
    count = 0
    for i in range(0, n, LANES):
        count = store_where_above(membrane, i, threshold, fired, count, n - i)
    return count


@compiled()
def _add_columns(like, lane, start, fired, num_fired, weight, total):
    """Add up the weights of the neurons that fire; in two sums, since each addition waits for the one before."""
    wide_vectors()
    lanes = len(total)
    even = odd = like
    for j in range(0, num_fired - 1, 2):
        even = add(even, load(weight, (start + fired[j]) * lanes + lane, like))
        odd = add(odd, load(weight, (start + fired[j + 1]) * lanes + lane, like))
    if num_fired % 2:
        even = add(even, load(weight, (start + fired[num_fired - 1]) * lanes + lane, like))
    store(total, lane, add(even, odd))


@compiled()
def _steps_backward_kernel(
    thread, num_threads, current, beta, threshold, num_steps, delay, surrogate, num_outputs, weight, projected_grad,
    spikes_grad, counts_grad, current_grad, weight_grads, beta_grads,
    membranes, all_fired, all_spike_grads, all_products, state_grads, all_ones,
):  # fmt: skip
    wide_vectors()
    _, batch, neurons = current.shape
    num_fired = num_steps - delay
    membrane, fired = membranes[thread], all_fired[thread]
    spike_grad, product = all_spike_grads[thread], all_products[thread]
    state_grad, ones = state_grads[thread, 0], all_ones[thread, 0]
    for i in range(BLOCK):
        ones[i] = ONE
    first, last = share(thread, num_threads, batch)
    for start in range(0, neurons, BLOCK):
        n = min(BLOCK, neurons - start)
        betas = beta[start:]
        for b in range(first, last):
            charge_all(n, num_fired, current, b, start, betas, threshold, membrane)
            if num_outputs > 0:
                _project_back(n, start, num_fired, num_outputs, weight, projected_grad, delay, b, spike_grad)
            clear(n, state_grad)
            for t in range(num_steps - 1, -1, -1):
                if t < num_fired:
                    if num_outputs == 0:
                        clear(n, spike_grad[t])
                    else:
                        gradient = projected_grad[t + delay, b]
                        count = _list_spikes(n, membrane[t], threshold, fired)
                        in_vectors(_add_gradient, len(gradient), (start, fired, count, gradient, weight_grads[thread]))
                    if len(spikes_grad):
                        add_product(n, ones, spikes_grad[t + delay, b, start:], spike_grad[t])
                    if len(counts_grad):
                        add_product(n, ones, counts_grad[b, start:], spike_grad[t])
                    surrogate_product(n, 1, surrogate, membrane[t:], 0, threshold, spike_grad[t:], product)
                    scale(n, betas, state_grad)
                    add_product(n, ones, product[0], state_grad)
                    if beta_grads.size and t > 0:
                        add_product(n, state_grad, membrane[t - 1], beta_grads[thread, start:])
                add_step(n, num_steps, t, state_grad, current_grad, b, start)


@compiled()
def add_step(n, num_steps, t, state_grad, current_grad, b, start):
    """Add a step's gradient to its current's, which begins at 0; steps come last to first."""
    wide_vectors()
    sums, is_first = current_grad[t % len(current_grad), b, start:], t == num_steps - 1 or len(current_grad) > 1
    for i in range(n):
        sums[i] = state_grad[i] if is_first else sums[i] + state_grad[i]


@compiled()
def clear(n, numbers):
    """Put zeros."""
    for i in range(n):
        numbers[i] = ZERO


@compiled()
def charge_all(n, num_steps, current, b, start, beta, threshold, membrane):
    """Compute the membranes of n neurons of an image, from `start`, at all steps."""
    wide_vectors()
    for t in range(num_steps):
        currents, before, now = current[t % len(current), b, start:], membrane[max(t - 1, 0)], membrane[t]
        for i in range(n):
            state = before[i] if t > 0 else ZERO
            reset = threshold if state - threshold > ZERO else ZERO
            now[i] = beta[i] * state + currents[i] - reset


@compiled()
def _add_gradient(like, lane, start, fired, num_fired, gradient, weight_grad):
    """Add the gradient to those of the weights of the neurons that fire."""
    wide_vectors()
    lanes, numbers = len(gradient), load(gradient, lane, like)
    for j in range(num_fired):
        place = (start + fired[j]) * lanes + lane
        store(weight_grad, place, add(load(weight_grad, place, like), numbers))


@compiled()
def _project_back(n, start, num_steps, num_outputs, weight, gradient, delay, b, spike_grad):
    """Do spike_grad[t, i] = sum_c gradient[t, c] weight[c, i], two steps at a time; up to the end of a panel."""
    wide_vectors()
    for i in range(0, n, PANEL):
        panel = (start + i) * num_outputs
        for t in range(0, num_steps, 2):
            first, second = gradient[t + delay, b], gradient[min(t + 1, num_steps - 1) + delay, b]
            even = odd = zeros_64()
            for c in range(num_outputs):
                weights = load(weight, panel + c * PANEL, even)
                even, odd = add_scaled(even, first[c], weights), add_scaled(odd, second[c], weights)
            store(spike_grad, t * BLOCK + i, even)
            if t + 1 < num_steps:
                store(spike_grad, (t + 1) * BLOCK + i, odd)


_launch_spikes_forward = on_all_threads(_spikes_forward_kernel)
_launch_projection_forward = on_all_threads(_projection_forward_kernel)
_launch_steps_backward = on_all_threads(_steps_backward_kernel)


@compiled()
def _spikes_forward(num_threads, *arguments):
    _launch_spikes_forward(num_threads, arguments)


@compiled()
def _projection_forward(num_threads, *arguments):
    _launch_projection_forward(num_threads, arguments)


@compiled()
def _steps_backward(num_threads, *arguments):
    _launch_steps_backward(num_threads, arguments)
