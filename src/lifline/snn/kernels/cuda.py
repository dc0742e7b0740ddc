"""The LIF neuron on CUDA: one Triton kernel forward and one backward, each with the time loop inside.

A program runs a block of neurons through all steps, their membranes in registers. Multiplications and additions are
not fused, so that spikes are equal to the reference's bit by bit.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from lifline.choices import SurrogateName
from lifline.snn.surrogate import FAST_SIGMOID_SLOPE

BLOCK = 256
"""Neurons of a program."""


def lif_forward(
    current: Tensor, betas: Tensor, threshold: float, spike_delay: int, spikes: Tensor, membrane: Tensor
) -> None:
    """Fill `spikes` and `membrane`, `[T, B, N]`, from a current `[B, N]` or `[T, B, N]` and `betas` `[B, N]`."""
    num_neurons = betas.numel()
    with torch.cuda.device_of(current):
        _forward[_grid(num_neurons)](
            current.contiguous(), betas, spikes, membrane, num_neurons, len(spikes), threshold,
            IS_CONSTANT=current.dim() == 2, DELAY=spike_delay, BLOCK=BLOCK, enable_fp_fusion=False,  # noqa: PLR2004
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
    """Fill `current_grad`, shaped like the current, and `beta_grads` `[B, N]`."""
    num_neurons = betas.numel()
    with torch.cuda.device_of(membrane):
        _backward[_grid(num_neurons)](
            membrane, betas, _contiguous(spikes_grad), _contiguous(membrane_grad), current_grad, beta_grads,
            num_neurons, len(membrane), threshold,
            IS_CONSTANT=current_grad.dim() == 2, DELAY=spike_delay, SURROGATE=surrogate,  # noqa: PLR2004
            SLOPE=FAST_SIGMOID_SLOPE, BLOCK=BLOCK,
        )  # fmt: skip


def _grid(num_neurons: int) -> tuple[int]:
    return (triton.cdiv(num_neurons, BLOCK),)


def _contiguous(gradient: Tensor | None) -> Tensor | None:
    return None if gradient is None else gradient.contiguous()


@triton.jit
def _forward(
    current, betas, spikes, membranes, num_neurons, num_steps, threshold,
    IS_CONSTANT: tl.constexpr, DELAY: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    neuron = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    is_there = neuron < num_neurons
    step = tl.full([BLOCK], num_neurons, tl.int64)  # in 64 bits: T * B * N may be beyond 32
    beta = tl.load(betas + neuron, is_there)
    membrane = tl.zeros([BLOCK], tl.float32)
    spike = tl.zeros([BLOCK], tl.float32)
    current_now = tl.load(current + neuron, is_there)
    if DELAY == 1:
        tl.store(spikes + neuron, spike, is_there)
    for t in range(num_steps):
        if not IS_CONSTANT:
            current_now = tl.load(current + t * step + neuron, is_there)
        membrane = beta * membrane + current_now - threshold * spike
        spike = tl.where(membrane - threshold > 0, 1.0, 0.0)
        tl.store(membranes + t * step + neuron, membrane, is_there)
        tl.store(spikes + (t + DELAY) * step + neuron, spike, is_there & (t + DELAY < num_steps))


@triton.jit
def _backward(
    membranes, betas, spikes_grad, membrane_grad, current_grad, beta_grads, num_neurons, num_steps, threshold,
    IS_CONSTANT: tl.constexpr, DELAY: tl.constexpr, SURROGATE: tl.constexpr, SLOPE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    neuron = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    is_there = neuron < num_neurons
    step = tl.full([BLOCK], num_neurons, tl.int64)  # in 64 bits: T * B * N may be beyond 32
    beta = tl.load(betas + neuron, is_there)
    gradient = tl.zeros([BLOCK], tl.float32)
    current_total = tl.zeros([BLOCK], tl.float32)
    beta_total = tl.zeros([BLOCK], tl.float32)
    membrane = tl.load(membranes + (num_steps - 1) * step + neuron, is_there)
    for steps_done in range(num_steps):
        t = num_steps - 1 - steps_done
        before = tl.load(membranes + (t - 1) * step + neuron, is_there & (t > 0), other=0.0)
        gradient = beta * gradient
        if spikes_grad is not None:
            is_spike_out = is_there & (t + DELAY < num_steps)
            spike_grad = tl.load(spikes_grad + (t + DELAY) * step + neuron, is_spike_out, other=0.0)
            derivative = _surrogate(membrane - threshold, SURROGATE, SLOPE)
            gradient += tl.where(is_spike_out, spike_grad * derivative, 0.0)
        if membrane_grad is not None:
            gradient += tl.load(membrane_grad + t * step + neuron, is_there)
        if IS_CONSTANT:
            current_total += gradient
        else:
            tl.store(current_grad + t * step + neuron, gradient, is_there)
        if beta_grads is not None:
            beta_total += gradient * before
        membrane = before
    if IS_CONSTANT:
        tl.store(current_grad + neuron, current_total, is_there)
    if beta_grads is not None:
        tl.store(beta_grads + neuron, beta_total, is_there)


@triton.jit
def _surrogate(distance, NAME: tl.constexpr, SLOPE: tl.constexpr):
    if NAME == "atan":
        scaled = 3.141592653589793 * distance
        derivative = 1 / (1 + scaled * scaled)
    elif NAME == "fast_sigmoid":
        scaled = 1 + SLOPE * tl.abs(distance)
        derivative = 1 / (scaled * scaled)
    elif NAME == "spike_operator":
        derivative = tl.where(distance > 0, 1.0, 0.0)
    else:
        derivative = tl.full(distance.shape, 1.0, tl.float32)
    return derivative
