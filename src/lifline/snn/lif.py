"""The leaky integrate-and-fire neuron: what it is asked for, and which of its implementations answers."""

import os
from numbers import Integral
from types import ModuleType
from typing import Any, TypeGuard

import torch
from torch import Tensor
from torch.nn.functional import linear

from lifline.choices import SurrogateName
from lifline.errors import SettingError
from lifline.snn import reference
from lifline.snn.kernels.autograd import LifFunction, LifLinearFunction
from lifline.snn.surrogate import SURROGATES

KERNELS_VARIABLE = "LIFLINE_KERNELS"
MAX_FUSED_OUTPUTS = 64
"""Outputs up to which it is faster to fuse the projection; with more, a matrix product of its own is."""


def lif(
    current: Tensor,
    beta: float | Tensor,
    threshold: float = 1.0,
    num_steps: int | None = None,
    surrogate: SurrogateName = "atan",
    spike_delay: int = 0,
) -> tuple[Tensor, Tensor]:
    """Run N leaky integrate-and-fire neurons through T steps, from a membrane of 0.

    U[t] = beta * U[t-1] + I[t] - threshold * S[t-1] and S[t] = U[t] > threshold, where no gradient flows
    through the reset, the last term. Nothing is kept from one call to the next. `reference.py` is the
    specification; float32 on the CPU or on CUDA takes a kernel with the same spikes, unless `LIFLINE_KERNELS` is
    `reference`.

    Args:
        current: input current I: `[B, N]`, the same at every step, or `[T, B, N]`. Half precision becomes float32.
        beta: membrane decay per step, in [0, 1]: a float, or a tensor (0-d or `[N]`) that gradients reach. A tensor on
            CUDA is taken as it is, since looking at its values would wait for the device.
        threshold: membrane above which a neuron fires: above 0, and a normal number in the current's type.
        num_steps: T for a constant current; left out where `current` has a time axis.
        surrogate: what stands for the derivative of a spike, a key of `SURROGATES`.
        spike_delay: 1 returns each spike one step late, as the neuron that snnTorch's tutorial 5 writes by
            hand does. The membrane is the same.

    Returns:
        Spikes (0.0 or 1.0) and membrane after charging, each `[T, B, N]`.

    Raises:
        ValueError: an argument is out of its range, or the current's shape and `num_steps` do not fit.
    """
    current = _at_least_float32(current)
    steps = _check(current, beta, threshold, num_steps, surrogate, spike_delay)
    kernels = _kernels_for(current)
    if kernels is None:
        return reference.lif(current, beta, threshold, steps, surrogate, spike_delay)
    outputs: tuple[Tensor, Tensor] = LifFunction.apply(
        kernels, current, _per_neuron(beta, current), threshold, steps, surrogate, spike_delay
    )
    return outputs


def lif_linear(
    current: Tensor,
    weight: Tensor,
    bias: Tensor,
    beta: float | Tensor,
    threshold: float = 1.0,
    num_steps: int | None = None,
    surrogate: SurrogateName = "atan",
    spike_delay: int = 0,
) -> tuple[Tensor, Tensor]:
    """Run LIF neurons, and project their spikes: `linear(spikes, weight, bias)`, in float32.

    On the CPU a constant current takes a kernel that fuses both, so that spikes `[T, B, N]` are never stored.

    Args:
        current: as in `lif`, like all that follows `bias`.
        weight: `[C, N]`, of the current's type.
        bias: `[C]`, likewise.
        beta: membrane decay per step.
        threshold: membrane above which a neuron fires.
        num_steps: T for a constant current.
        surrogate: what stands for the derivative of a spike.
        spike_delay: 1 lets each spike arrive one step late.

    Returns:
        The projection `[T, B, C]`, and how often each neuron fired, `[B, N]`; gradients reach both.

    Raises:
        ValueError: as `lif`, or weight and bias do not fit.
    """
    current = _at_least_float32(current)
    steps = _check(current, beta, threshold, num_steps, surrogate, spike_delay)
    _check_projection(current, weight, bias)
    is_constant = current.dim() == 2  # noqa: PLR2004
    kernels = _kernels_for(current)
    if kernels is not None and current.is_cpu and is_constant and len(weight) <= MAX_FUSED_OUTPUTS:
        outputs: tuple[Tensor, Tensor] = LifLinearFunction.apply(
            kernels, current, weight, bias, _per_neuron(beta, current), threshold, steps, surrogate, spike_delay
        )
        return outputs
    spikes, _ = lif(current, beta, threshold, num_steps, surrogate, spike_delay)
    with torch.autocast(current.device.type, enabled=False):  # as the kernel computes it
        return linear(spikes, weight, bias), spikes.sum(0)


def _kernels_for(current: Tensor) -> ModuleType | None:
    """Import the kernels for a current's device and return their module; None: the reference."""
    asked = os.environ.get(KERNELS_VARIABLE, "fused")
    if asked not in ("fused", "reference"):
        raise SettingError(f"{KERNELS_VARIABLE} is {asked!r}; allowed are fused and reference")
    if asked == "reference" or current.dtype != torch.float32 or torch.compiler.is_compiling():
        return None
    if current.device.type == "cpu":
        from lifline.snn.kernels import cpu  # noqa: PLC0415 - half a second

        return cpu
    if current.device.type == "cuda":
        from lifline.snn.kernels import cuda  # noqa: PLC0415

        return cuda
    return None


def _at_least_float32(current: Tensor) -> Tensor:
    return current.float() if current.dtype in (torch.bfloat16, torch.float16) else current


def _per_neuron(beta: float | Tensor, current: Tensor) -> Tensor:
    if isinstance(beta, Tensor):
        return beta.to(current).expand(current.shape[-1])
    return torch.full(current.shape[-1:], beta, dtype=current.dtype, device=current.device)  # without a wait for CUDA


def _check(
    current: Tensor,
    beta: float | Tensor,
    threshold: float,
    num_steps: int | None,
    surrogate: str,
    spike_delay: int,
) -> int:
    """Check `lif`'s arguments; returns the number of steps."""
    if not current.is_floating_point():
        raise ValueError(f"current is of {current.dtype}; allowed are floating-point types")
    _check_beta(beta, current)
    limits = torch.finfo(current.dtype)
    if not limits.smallest_normal <= threshold <= limits.max:
        raise ValueError(f"threshold is {threshold}; allowed is {limits.smallest_normal:.3g} to {limits.max:.3g}")
    if surrogate not in SURROGATES:
        raise ValueError(f"surrogate is {surrogate!r}; allowed are {', '.join(SURROGATES)}")
    if not (_is_whole(spike_delay) and spike_delay in (0, 1)):
        raise ValueError(f"spike_delay is {spike_delay}; allowed are 0 and 1")
    if current.dim() == 2 and _is_whole(num_steps) and num_steps >= 1:  # noqa: PLR2004
        return int(num_steps)
    if current.dim() == 3 and num_steps is None and len(current) >= 1:  # noqa: PLR2004
        return len(current)
    raise ValueError(
        f"current of shape {list(current.shape)} with num_steps={num_steps!r}; allowed are [B, N] with a whole "
        "num_steps from 1, or [T, B, N] without num_steps"
    )


def _check_beta(beta: float | Tensor, current: Tensor) -> None:
    if not isinstance(beta, Tensor):
        outside = [] if 0 <= beta <= 1 else [beta]
    elif beta.shape not in ((), current.shape[-1:]):
        raise ValueError(f"beta has the shape {list(beta.shape)}; allowed are [] and {list(current.shape[-1:])}")
    elif beta.is_cpu and not torch.compiler.is_compiling():
        outside = beta[~((beta >= 0) & (beta <= 1))].tolist()
    else:
        outside = []
    if outside:
        raise ValueError(f"beta is {outside[0]}; allowed is 0 to 1")


def _is_whole(number: Any) -> TypeGuard[int]:
    return isinstance(number, Integral) and not isinstance(number, bool)


def _check_projection(current: Tensor, weight: Tensor, bias: Tensor) -> None:
    fits = weight.dim() == 2 and weight.shape[1] == current.shape[-1] and bias.shape == weight.shape[:1]  # noqa: PLR2004
    if not (fits and current.dtype == weight.dtype == bias.dtype):
        raise ValueError(
            f"weight is {list(weight.shape)} of {weight.dtype} and bias {list(bias.shape)} of {bias.dtype}; allowed "
            f"are [C, {current.shape[-1]}] and [C] of {current.dtype}"
        )
