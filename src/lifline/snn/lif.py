"""The leaky integrate-and-fire neuron: what it is asked for, and which of its implementations answers."""

import os
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import conv2d, linear, max_pool2d

import lifline.snn.kernels.autograd
import lifline.snn.kernels.autograd_steps  # noqa: F401 - both define torch.ops.lifline
from lifline.choices import SurrogateName
from lifline.errors import SettingError
from lifline.layers import MAX_POOL
from lifline.snn import reference
from lifline.snn.arguments import (
    at_least_float32,
    beta_of,
    check_arguments,
    check_projection,
    initial_of,
    threshold_of,
)
from lifline.snn.modes import is_autocast, is_recorded, is_transformed, is_watched
from lifline.snn.surrogate import fire

KERNELS_VARIABLE = "LIFLINE_KERNELS"
MAX_FUSED_OUTPUTS = 1024
"""Outputs up to which it is faster to fuse the projection; with more, a matrix product of its own is."""

MAX_FUSED_OUTPUTS_BESIDE_HALVES = 64
"""Likewise, where that product may be in half precision."""


def lif(
    current: Tensor,
    beta: float | Tensor,
    threshold: float | Tensor = 1.0,
    num_steps: int | None = None,
    surrogate: SurrogateName = "atan",
    spike_delay: int = 0,
    initial: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Run leaky integrate-and-fire neurons through T steps, from a membrane of 0 or where an earlier call ended.

    U[t] = beta * U[t-1] + I[t] - threshold * S[t-1] and S[t] = U[t] > threshold, where no gradient flows
    through the reset's spike. Nothing is kept from one call to the next. `reference.py` is the specification. Float32
    on the CPU or on CUDA takes a kernel with the same spikes, an operator of `torch.ops.lifline`. The reference
    itself runs in float64, where the threshold is a tensor to learn, within `torch.func`'s transforms, while
    `torch.export`, `torch.jit.trace` or an export to ONNX record a graph, and where `LIFLINE_KERNELS` is `reference`;
    there alone are gradients of gradients.

    A sequence may be cut in two: with the first part's `membrane[-1]` as the second's `initial`, both together are
    the whole, bit by bit. The membrane is all there is to hand on, since the last spike can be told from it.

    Args:
        current: input current I: `[B, ...]` with `num_steps`, the same at every step, or `[T, B, ...]`. Bfloat16 and
            half precision become float32, and so is what is returned. What is stored as channels_last is not copied.
        beta: membrane decay per step, in [0, 1]: a number, or a tensor, 0-d or of the neurons' shape, the current's
            without T and B. Gradients reach it. A tensor on CUDA is taken as it is, since looking at its values would
            wait for the device.
        threshold: membrane above which a neuron fires: above 0, and a normal number in the current's type. A tensor
            as for `beta`; one that is 0-d, on the CPU and wants no gradient is taken as a number.
        num_steps: T for a constant current; left out where `current` has a time axis.
        surrogate: what stands for the derivative of a spike, a key of `SURROGATES`.
        spike_delay: 1 returns each spike one step late, as the neuron that snnTorch's tutorial 5 writes by
            hand does. The membrane is the same. The first spike that is returned is the initial membrane's.
        initial: membrane after charging in the step before the first, `[B, ...]`. Gradients reach it.

    Returns:
        Spikes (0.0 or 1.0) and membrane after charging, each `[T, B, ...]`.

    Raises:
        ValueError: an argument is out of its range, or shapes, types and `num_steps` do not fit.
    """
    current = at_least_float32(current)
    check_arguments(current, num_steps, surrogate, spike_delay)
    beta, threshold = beta_of(beta, current, num_steps), threshold_of(threshold, current, num_steps)
    initial = initial_of(initial, current, num_steps)
    if isinstance(threshold, Tensor) or not _may_use_kernels(current):
        return reference.lif(current, beta, threshold, num_steps, surrogate, spike_delay, initial)
    if initial is None:
        return _by_kernel(current, beta, threshold, num_steps, surrogate, spike_delay)
    return _continued(current, beta, threshold, num_steps, surrogate, spike_delay, initial)


def lif_linear(
    current: Tensor,
    weight: Tensor,
    bias: Tensor,
    beta: float | Tensor,
    threshold: float | Tensor = 1.0,
    num_steps: int | None = None,
    surrogate: SurrogateName = "atan",
    spike_delay: int = 0,
) -> tuple[Tensor, Tensor]:
    """Run LIF neurons, and project their spikes: `linear(spikes.flatten(2), weight, bias)`, in float32 or float64.

    On the CPU a kernel fuses both where C is at most `MAX_FUSED_OUTPUTS`, so that spikes are never stored.

    Args:
        current: as in `lif`, like all that follows `bias`.
        weight: `[C, N]`, of the current's type, where N is the number of neurons. Half types become float32.
        bias: `[C]`, likewise.
        beta: membrane decay per step.
        threshold: membrane above which a neuron fires.
        num_steps: T for a constant current.
        surrogate: what stands for the derivative of a spike.
        spike_delay: 1 lets each spike arrive one step late.

    Returns:
        The projection `[T, B, C]`, and how often each neuron fired, `[B, ...]`; gradients reach both.

    Raises:
        ValueError: as `lif`, or weight and bias do not fit.
    """
    current, weight, bias = (at_least_float32(tensor) for tensor in (current, weight, bias))
    check_arguments(current, num_steps, surrogate, spike_delay)
    check_projection(current, num_steps, weight, bias)
    beta, threshold = beta_of(beta, current, num_steps), threshold_of(threshold, current, num_steps)
    if not isinstance(threshold, Tensor) and _may_fuse(current) and weight.shape[0] <= MAX_FUSED_OUTPUTS:
        row, order = _as_row(current, num_steps)
        projected, counts = torch.ops.lifline.lif_linear.default(
            row, _reordered(weight, current, num_steps, order), bias, _per_neuron(_in_order(beta, order), row),
            threshold, _steps_of(current, num_steps), surrogate, spike_delay,
        )  # fmt: skip
        return projected, _in_shape(counts, current, num_steps, order)
    spikes, counts = lif_spikes(current, beta, threshold, num_steps, surrogate, spike_delay)
    with _without_autocast(current):  # as the kernel computes it
        return linear(spikes.flatten(2), weight, bias), counts


def lif_spikes(
    current: Tensor,
    beta: float | Tensor,
    threshold: float | Tensor = 1.0,
    num_steps: int | None = None,
    surrogate: SurrogateName = "atan",
    spike_delay: int = 0,
) -> tuple[Tensor, Tensor]:
    """Run LIF neurons whose membrane nobody asks for: the CPU's kernel neither stores nor keeps it.

    Args are those of `lif`, and so are errors.

    Returns:
        Spikes (0.0 or 1.0) `[T, B, ...]`, and how often each neuron fired, `[B, ...]`; gradients reach both.
    """
    current = at_least_float32(current)
    check_arguments(current, num_steps, surrogate, spike_delay)
    beta, threshold = beta_of(beta, current, num_steps), threshold_of(threshold, current, num_steps)
    if not isinstance(threshold, Tensor) and _may_fuse(current):
        row, order = _as_row(current, num_steps)
        spikes, counts = torch.ops.lifline.lif_spikes.default(
            row, _per_neuron(_in_order(beta, order), row), threshold, _steps_of(current, num_steps),
            surrogate, spike_delay,
        )  # fmt: skip
        return _in_shape(spikes, current, num_steps, order), _in_shape(counts, current, num_steps, order)
    spikes, _ = lif(current, beta, threshold, num_steps, surrogate, spike_delay)
    return spikes, spikes.sum(0)


def lif_conv(
    current: Tensor,
    weight: Tensor,
    bias: Tensor,
    padding: int,
    pool: int,
    beta: float | Tensor,
    threshold: float | Tensor = 1.0,
    num_steps: int | None = None,
    surrogate: SurrogateName = "atan",
    spike_delay: int = 0,
) -> tuple[Tensor, Tensor]:
    """Run LIF neurons, convolve their spikes and take maxima: `max_pool2d(conv2d(spikes, weight, bias), pool)`.

    On the CPU a kernel stores neither spikes nor the convolution's output. Backward, only the maxima have gradients.

    Args:
        current: `[B, C, H, W]` with `num_steps`, or `[T, B, C, H, W]`; like all that follows `pool` as in `lif`.
        weight: `[O, C, k, k]`, of the current's type.
        bias: `[O]`, likewise.
        padding: zeros around the image, on each side.
        pool: side and stride of the squares of which the maximum is taken.
        beta: membrane decay per step.
        threshold: membrane above which a neuron fires.
        num_steps: T for a constant current.
        surrogate: what stands for the derivative of a spike.
        spike_delay: 1 lets each spike arrive one step late.

    Returns:
        The pooled currents `[T, B, O, H', W']`, in float32 but on CUDA under autocast, and how often each neuron fired,
        `[B, C, H, W]`.

    Raises:
        ValueError: as `lif`.
    """
    current, weight, bias = (at_least_float32(tensor) for tensor in (current, weight, bias))
    check_arguments(current, num_steps, surrogate, spike_delay)
    beta, threshold = beta_of(beta, current, num_steps), threshold_of(threshold, current, num_steps)
    if not isinstance(threshold, Tensor) and _may_fuse(current) and pool <= MAX_POOL and current.numel():
        neurons = current.shape[-3:]
        betas = beta.expand(neurons) if isinstance(beta, Tensor) else current.new_full(neurons, beta)
        pooled, counts, _ = torch.ops.lifline.lif_conv.default(
            current, weight, bias, betas, threshold, _steps_of(current, num_steps),
            surrogate, spike_delay, padding, pool,
        )  # fmt: skip
        return pooled, counts
    spikes, counts = lif_spikes(current, beta, threshold, num_steps, surrogate, spike_delay)
    with _without_autocast(current) if current.is_cpu else nullcontext():  # as the kernel computes it
        pooled = max_pool2d(conv2d(spikes.flatten(0, 1), weight, bias, padding=padding), pool)
    return pooled.view(*spikes.shape[:2], *pooled.shape[1:]), counts


def _without_autocast(current: Tensor) -> AbstractContextManager[Any]:
    """Compute in full precision; no context where there is no need, which an exported graph would record."""
    kind = current.device.type
    return torch.autocast(kind, enabled=False) if is_autocast(kind) else nullcontext()


# Which implementation answers.


def _may_use_kernels(current: Tensor) -> bool:
    asked = os.environ.get(KERNELS_VARIABLE, "fused")
    if asked not in ("fused", "reference"):
        raise SettingError(f"{KERNELS_VARIABLE} is {asked!r}; allowed are fused and reference")
    there_are = current.dtype == torch.float32 and current.device.type in ("cpu", "cuda", "meta")
    return asked == "fused" and there_are and not is_recorded() and not is_transformed()


def _may_fuse(current: Tensor) -> bool:
    """Whether products may be fused: not before the eyes of a mode such as FlopCounterMode, which counts them."""
    if not (current.is_cpu and _may_use_kernels(current)):
        return False
    return torch.compiler.is_compiling() or not is_watched()


# Currents of any shape, and initial membranes, for kernels that know `[B, N]`, `[T, B, N]` and a membrane of 0.


def _by_kernel(
    current: Tensor,
    beta: float | Tensor,
    threshold: float,
    num_steps: int | None,
    surrogate: SurrogateName,
    spike_delay: int,
) -> tuple[Tensor, Tensor]:
    row, order = _as_row(current, num_steps)
    spikes, membrane = torch.ops.lifline.lif.default(
        row, _per_neuron(_in_order(beta, order), row), threshold, _steps_of(current, num_steps), surrogate, spike_delay
    )
    return _in_shape(spikes, current, num_steps, order), _in_shape(membrane, current, num_steps, order)


def _steps_of(current: Tensor, num_steps: int | None) -> int:
    return current.shape[0] if num_steps is None else num_steps


def _as_row(current: Tensor, num_steps: int | None) -> tuple[Tensor, list[int]]:
    """Make one axis, N, of those of the neurons, in the order in which they are stored; returns that, too.

    So what is stored as channels_last is not copied.
    """
    first = 2 if num_steps is None else 1
    axes = range(first, current.dim())
    order = list(axes) if current.is_contiguous() else sorted(axes, key=current.stride, reverse=True)
    stored = current.permute(*range(first), *order)
    row = stored.flatten(first) if stored.dim() > first else stored.unsqueeze(first)
    return row, [axis - first for axis in order]


def _in_shape(row: Tensor, current: Tensor, num_steps: int | None, order: list[int]) -> Tensor:
    """Give the last axis, N, the axes of the current's neurons again."""
    neurons, before = current.shape[2 if num_steps is None else 1 :], row.dim() - 1
    if len(neurons) == 1:
        return row
    stored = row.view(*row.shape[:-1], *(neurons[axis] for axis in order))
    return stored.permute(*range(before), *(before + order.index(axis) for axis in range(len(neurons))))


def _in_order(beta: float | Tensor, order: list[int]) -> float | Tensor:
    return beta.permute(order) if isinstance(beta, Tensor) and beta.dim() > 0 else beta


def _reordered(weight: Tensor, current: Tensor, num_steps: int | None, order: list[int]) -> Tensor:
    """Bring the columns of a weight `[C, N]` into the order in which neurons are stored."""
    if order == sorted(order):
        return weight
    neurons = current.shape[2 if num_steps is None else 1 :]
    reordered: Tensor = weight.unflatten(1, neurons).permute(0, *(1 + axis for axis in order)).flatten(1)
    return reordered


def _continued(
    current: Tensor,
    beta: float | Tensor,
    threshold: float,
    num_steps: int | None,
    surrogate: SurrogateName,
    spike_delay: int,
    initial: Tensor,
) -> tuple[Tensor, Tensor]:
    """Go on from an initial membrane: a kernel that starts from 0 gets the membrane of the first step as a current."""
    each = current if num_steps is None else current.expand(num_steps, *current.shape)
    spike = fire(initial - threshold, surrogate)
    charged = beta * initial + each[0] - threshold * spike.detach()  # rounds as the reference does
    currents = torch.cat([charged.unsqueeze(0), each[1:]])
    spikes, membrane = _by_kernel(currents, beta, threshold, None, surrogate, spike_delay)
    if spike_delay == 1:
        spikes = torch.cat([spike.unsqueeze(0), spikes[1:]])
    return spikes, membrane


def _per_neuron(beta: float | Tensor, flat: Tensor) -> Tensor:
    """Return beta as `[N]`, for a current whose last axis is N."""
    if isinstance(beta, Tensor):
        return beta.reshape(-1).expand(flat.shape[-1])
    return torch.full(flat.shape[-1:], beta, dtype=flat.dtype, device=flat.device)  # without a wait for CUDA
