"""A spike, and the surrogate that stands for its derivative in the backward pass.

Neftci, Mostafa and Zenke, "Surrogate Gradient Learning in Spiking Neural Networks", IEEE Signal Processing
Magazine 36, 2019.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from lifline.choices import SurrogateName

FAST_SIGMOID_SLOPE = 25.0  # snnTorch's default


def _atan(distance: Tensor) -> Tensor:
    return 1 / (1 + (math.pi * distance) ** 2)


def _fast_sigmoid(distance: Tensor) -> Tensor:
    return 1 / (1 + FAST_SIGMOID_SLOPE * distance.abs()) ** 2


def _spike_operator(distance: Tensor) -> Tensor:
    return (distance > 0).to(distance.dtype)


SURROGATES: dict[SurrogateName, Callable[[Tensor], Tensor]] = {
    "atan": _atan,
    "spike_operator": _spike_operator,
    "fast_sigmoid": _fast_sigmoid,
    "straight_through": torch.ones_like,
}
"""The derivative of a spike by the membrane's distance from the threshold, each elementwise."""


def fire(distance: Tensor, surrogate: SurrogateName) -> Tensor:
    """Fire where the membrane is above its threshold.

    Args:
        distance: membrane minus threshold, any shape.
        surrogate: a key of `SURROGATES`; gradients flow through it.

    Returns:
        1.0 where `distance` is above 0, else 0.0 (NaN included), of the same shape and type.
    """
    if torch.compiler.is_compiling() or is_traced():
        # torch.jit.trace checks a graph by another made without gradients: both must be the same
        has_gradient = (distance.requires_grad or is_traced()) and not torch.onnx.is_in_onnx_export()
        return _recorded(distance, SURROGATES[surrogate]) if has_gradient else _is_above(distance)
    if torch.is_grad_enabled():
        return _Fire.apply(distance, SURROGATES[surrogate])  # type: ignore[no-any-return]
    return _is_above(distance)


def is_traced() -> bool:
    """Whether `torch.jit.trace` records, for itself or for an export to ONNX; sizes are tensors then."""
    return bool(torch.jit.is_tracing())  # type: ignore[attr-defined, no-untyped-call]


def _is_above(distance: Tensor) -> Tensor:
    return (distance > 0).to(distance.dtype)


def _recorded(distance: Tensor, derivative: Callable[[Tensor], Tensor]) -> Tensor:
    """Fire in plain operations, gradient included: a graph keeps no backward of ours.

    What is added is 0 and has the gradient; where the distance is not finite it is 0 without a gradient.
    """
    nothing = (distance - distance.detach()) * derivative(distance).detach()
    return _is_above(distance) + nothing.nan_to_num(nan=0.0)


class _Fire(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(distance: Tensor, derivative: Callable[[Tensor], Tensor]) -> Tensor:
        return _is_above(distance)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Callable[[Tensor], Tensor]], output: Tensor) -> None:
        distance, ctx.derivative = inputs
        ctx.save_for_backward(distance)
        ctx.save_for_forward(distance)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (distance,) = ctx.saved_tensors
        return gradients[0] * ctx.derivative(distance), None

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor) -> Tensor:
        (distance,) = ctx.saved_tensors
        product: Tensor = tangents[0] * ctx.derivative(distance)
        return product
