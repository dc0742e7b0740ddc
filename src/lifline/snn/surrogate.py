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
    if distance.requires_grad:
        return _Fire.apply(distance, SURROGATES[surrogate])  # type: ignore[no-any-return]
    return (distance > 0).to(distance.dtype)  # plain operations, which export to ONNX


class _Fire(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, distance: Tensor, derivative: Callable[[Tensor], Tensor]) -> Tensor:
        ctx.save_for_backward(distance)
        ctx.derivative = derivative
        return (distance > 0).to(distance.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (distance,) = ctx.saved_tensors
        return gradients[0] * ctx.derivative(distance), None
