"""What neurons may be asked for: arguments are checked here, and brought to one type."""

import math
from numbers import Integral, Real
from typing import Any, TypeGuard

import torch
from torch import Tensor

from lifline.snn.modes import has_values
from lifline.snn.surrogate import SURROGATES, is_traced

HALVES = (torch.bfloat16, torch.float16)


def at_least_float32(tensor: Tensor) -> Tensor:
    """Return what kernels and the reference compute with, for a tensor of any floating-point type.

    Raises:
        ValueError: it is no tensor.
    """
    if not isinstance(tensor, Tensor):
        kind = type(tensor)
        raise ValueError(f"a {kind.__module__}.{kind.__qualname__} is no torch.Tensor; torch.as_tensor makes one of it")
    return tensor.float() if tensor.dtype in HALVES else tensor


# What is allowed. Under torch.jit.trace sizes are tensors, and to compare them is to warn: they are not checked.


def check_arguments(current: Tensor, num_steps: int | None, surrogate: str, spike_delay: int) -> None:
    """Check what has no tensor, and the current.

    Raises:
        ValueError: as `lif`, like all in this module.
    """
    if current.dtype not in (torch.float32, torch.float64):  # bfloat16 and half are float32 by now
        raise ValueError(f"current is of {current.dtype}; allowed are float32, float64, bfloat16 and half")
    if surrogate not in SURROGATES:
        raise ValueError(f"surrogate is {surrogate!r}; allowed are {', '.join(SURROGATES)}")
    if not (is_whole(spike_delay) and spike_delay in (0, 1)):
        raise ValueError(f"spike_delay is {spike_delay!r}; allowed are 0 and 1")
    if num_steps is None:
        fits = current.dim() >= 2 and (is_traced() or current.shape[0] >= 1)  # noqa: PLR2004
    else:
        fits = current.dim() >= 1 and is_whole(num_steps) and num_steps >= 1
    if not fits:
        raise ValueError(
            f"current of shape {list(current.shape)} with num_steps={num_steps!r}; allowed are [B, ...] with a whole "
            "num_steps from 1, or [T, B, ...] without num_steps"
        )


def beta_of(beta: float | Tensor, current: Tensor, num_steps: int | None) -> float | Tensor:
    """Return the decay as a number, or as a tensor of the current's type and device."""
    return _parameter("beta", beta, 0, 1, current, num_steps)


def threshold_of(threshold: float | Tensor, current: Tensor, num_steps: int | None) -> float | Tensor:
    """Return the threshold as a number, or where it is learned or has a value a neuron, as a tensor likewise."""
    limits = torch.finfo(current.dtype)
    checked = _parameter("threshold", threshold, limits.smallest_normal, limits.max, current, num_steps)
    if isinstance(checked, Tensor) and checked.dim() == 0 and not checked.requires_grad and has_values(checked):
        return checked.item()
    return checked


def _parameter(
    name: str, value: float | Tensor, low: float, high: float, current: Tensor, num_steps: int | None
) -> float | Tensor:
    """Check a neuron's parameter; returns it as a number, or as a tensor of the current's type and device."""
    if isinstance(value, Tensor):
        neurons = current.shape[1 if num_steps is not None else 2 :]
        if value.dim() > 0 and not is_traced() and value.shape != neurons:
            axes = "without num_steps is [T, B]" if num_steps is None else "with num_steps is [B]"
            of_one = f"allowed is [], as a current {list(current.shape)} {axes}"
            allowed = f"allowed are [] and {list(neurons)}" if neurons else of_one
            raise ValueError(f"{name} has the shape {list(value.shape)}; {allowed}")
        outside = value[~((value >= low) & (value <= high))].tolist() if has_values(value) else []
    else:
        is_number = isinstance(value, Real) and not isinstance(value, bool)
        outside = [] if is_number and low <= value <= high else [float(value) if is_number else value]
    if outside:
        raise ValueError(f"{name} is {outside[0]!r}; allowed is {low:.3g} to {high:.3g}")
    return value.to(current) if isinstance(value, Tensor) else float(value)


def initial_of(initial: Tensor | None, current: Tensor, num_steps: int | None) -> Tensor | None:
    """Return the initial membrane in the current's type, where one is given."""
    if initial is None:
        return None
    now = current if num_steps is not None else current[0]
    if not isinstance(initial, Tensor):
        raise ValueError(f"initial is {initial!r}; allowed is a tensor {list(now.shape)}")
    initial = at_least_float32(initial)
    fits = is_traced() or initial.shape == now.shape
    if not (fits and (initial.dtype, initial.device) == (now.dtype, now.device)):
        raise ValueError(
            f"initial is {list(initial.shape)} of {initial.dtype} on {initial.device}; allowed is {list(now.shape)} of "
            f"{now.dtype} on {now.device}"
        )
    return initial


def is_whole(number: Any) -> TypeGuard[int]:
    """Whether something is a whole number, of Python's or NumPy's."""
    return isinstance(number, Integral) and not isinstance(number, bool)


def check_projection(current: Tensor, num_steps: int | None, weight: Tensor, bias: Tensor) -> None:
    """Check that weight and bias project the spikes of the current's neurons."""
    if is_traced():
        return
    count = math.prod(current.shape[1 if num_steps is not None else 2 :])
    fits = weight.dim() == 2 and weight.shape[1] == count and bias.shape == weight.shape[:1]  # noqa: PLR2004
    if not (fits and current.dtype == weight.dtype == bias.dtype):
        raise ValueError(
            f"weight is {list(weight.shape)} of {weight.dtype} and bias {list(bias.shape)} of {bias.dtype}; allowed "
            f"are [C, {count}] and [C] of {current.dtype}"
        )
