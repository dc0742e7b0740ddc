"""The neuron's kernels as operators; each kind of device has a module of them, cpu.py or cuda.py."""

from typing import Any

import torch
from torch import Tensor

from lifline.choices import SurrogateName
from lifline.snn.kernels.registration import Gradients, kernels_for, operator

MAX_OUTPUTS_AT_ONCE = 64
"""Outputs up to which the kernel for a constant current, which multiplies whole blocks of spikes, is used."""


# LIF by itself: spikes and membrane `[T, B, N]` from a float32 current `[B, N]` or `[T, B, N]` and `beta` `[N]`.


def _lif_shapes(
    current: Tensor, beta: Tensor, threshold: float, num_steps: int, surrogate: str, spike_delay: int
) -> tuple[Tensor, Tensor]:
    shape = num_steps, *current.shape[-2:]
    return current.new_empty(shape), current.new_empty(shape)


def _lif_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    current, beta, threshold, _, surrogate, spike_delay = inputs
    ctx.save_for_backward(output[1], beta)
    ctx.set_materialize_grads(False)
    ctx.is_constant, ctx.settings = current.dim() == 2, (threshold, surrogate, spike_delay)  # noqa: PLR2004


def _lif_gradients(ctx: Any, spikes_grad: Tensor | None, membrane_grad: Tensor | None) -> Gradients:
    needs_beta_grad = ctx.needs_input_grad[1]
    current_grad, beta_grad = torch.ops.lifline.lif_backward.default(
        *ctx.saved_tensors, *ctx.settings, spikes_grad, membrane_grad, ctx.is_constant, needs_beta_grad
    )
    return current_grad, beta_grad if needs_beta_grad else None, *[None] * 4


@operator(
    "lif(Tensor current, Tensor beta, float threshold, SymInt num_steps, str surrogate, int spike_delay)"
    " -> (Tensor spikes, Tensor membrane)",
    _lif_shapes,
    _lif_gradients,
    _lif_context,
)
def _lif(
    current: Tensor, beta: Tensor, threshold: float, num_steps: int, surrogate: SurrogateName, spike_delay: int
) -> tuple[Tensor, Tensor]:
    spikes, membrane = _lif_shapes(current, beta, threshold, num_steps, surrogate, spike_delay)
    kernels_for(current).lif_forward(current, _per_image(beta, membrane), threshold, spike_delay, spikes, membrane)
    return spikes, membrane


def _lif_backward_shapes(membrane: Tensor, beta: Tensor, *settings: Any) -> tuple[Tensor, Tensor]:
    is_constant, needs_beta_grad = settings[-2:]
    current_grad = membrane.new_empty(membrane.shape[1:] if is_constant else membrane.shape)
    return current_grad, beta.new_empty(beta.shape if needs_beta_grad else 0)


@operator(
    "lif_backward(Tensor membrane, Tensor beta, float threshold, str surrogate, int spike_delay, Tensor? spikes_grad,"
    " Tensor? membrane_grad, bool is_constant, bool needs_beta_grad) -> (Tensor current_grad, Tensor beta_grad)",
    _lif_backward_shapes,
)
def _lif_backward(
    membrane: Tensor,
    beta: Tensor,
    threshold: float,
    surrogate: SurrogateName,
    spike_delay: int,
    spikes_grad: Tensor | None,
    membrane_grad: Tensor | None,
    is_constant: bool,
    needs_beta_grad: bool,
) -> tuple[Tensor, Tensor]:
    betas = _per_image(beta, membrane)
    current_grad = membrane.new_zeros(membrane.shape[1:] if is_constant else membrane.shape)
    beta_grads = torch.zeros_like(betas) if needs_beta_grad else None
    kernels_for(membrane).lif_backward(
        membrane, betas, threshold, surrogate, spike_delay, spikes_grad, membrane_grad, current_grad, beta_grads
    )
    return current_grad, beta.new_empty(0) if beta_grads is None else beta_grads.sum(0)


def _per_image(beta: Tensor, membrane: Tensor) -> Tensor:
    return beta.expand(membrane.shape[1:]).contiguous()


# Neurons and the projection of their spikes: `[T, B, C]`, and counts `[B, N]`, from a current `[B, N]` or `[T, B, N]`.


def _lif_linear_shapes(
    current: Tensor,
    weight: Tensor,
    bias: Tensor,
    beta: Tensor,
    threshold: float,
    num_steps: int,
    surrogate: str,
    spike_delay: int,
) -> tuple[Tensor, Tensor]:
    projected = current.new_empty(num_steps, current.shape[-2], weight.shape[0])
    return projected, current.new_empty(current.shape[-2:])


def _is_for_steps(current: Tensor, weight: Tensor) -> bool:
    """Whether the kernel for any current answers, not the one for few outputs of a constant current."""
    return current.dim() == 3 or weight.shape[0] > MAX_OUTPUTS_AT_ONCE  # noqa: PLR2004


def _lif_linear_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    current, weight, _, beta, threshold, _, surrogate, spike_delay = inputs
    ctx.save_for_backward(current, weight, beta)
    ctx.set_materialize_grads(False)
    ctx.projected_shape, ctx.settings = output[0].shape, (threshold, surrogate, spike_delay)


def _lif_linear_gradients(ctx: Any, projected_grad: Tensor | None, counts_grad: Tensor | None) -> Gradients:
    needs_beta_grad = ctx.needs_input_grad[3]
    if projected_grad is None:
        projected_grad = ctx.saved_tensors[0].new_zeros(ctx.projected_shape)
    current_grad, weight_grad, beta_grad = torch.ops.lifline.lif_linear_backward.default(
        *ctx.saved_tensors, *ctx.settings, projected_grad, counts_grad, needs_beta_grad
    )
    bias_grad = projected_grad.sum((0, 1))
    return current_grad, weight_grad, bias_grad, beta_grad if needs_beta_grad else None, *[None] * 4


@operator(
    "lif_linear(Tensor current, Tensor weight, Tensor bias, Tensor beta, float threshold, SymInt num_steps,"
    " str surrogate, int spike_delay) -> (Tensor projected, Tensor counts)",
    _lif_linear_shapes,
    _lif_linear_gradients,
    _lif_linear_context,
)
def _lif_linear(
    current: Tensor,
    weight: Tensor,
    bias: Tensor,
    beta: Tensor,
    threshold: float,
    num_steps: int,
    surrogate: SurrogateName,
    spike_delay: int,
) -> tuple[Tensor, Tensor]:
    if _is_for_steps(current, weight):
        from lifline.snn.kernels import cpu_steps  # noqa: PLC0415 - half a second

        return cpu_steps.projection_forward(current, weight, bias, beta, threshold, num_steps, spike_delay)
    projected, counts = _lif_linear_shapes(current, weight, bias, beta, threshold, num_steps, surrogate, spike_delay)
    kernels_for(current).fused_forward(current, weight, bias, beta, threshold, spike_delay, projected, counts)
    return projected, counts


def _lif_linear_backward_shapes(
    current: Tensor, weight: Tensor, beta: Tensor, *settings: Any
) -> tuple[Tensor, Tensor, Tensor]:
    needs_beta_grad = settings[-1]
    beta_grad = beta.new_empty(beta.shape if needs_beta_grad else 0)
    return current.new_empty(current.shape), weight.new_empty(weight.shape), beta_grad


@operator(
    "lif_linear_backward(Tensor current, Tensor weight, Tensor beta, float threshold, str surrogate, int spike_delay,"
    " Tensor projected_grad, Tensor? counts_grad, bool needs_beta_grad)"
    " -> (Tensor current_grad, Tensor weight_grad, Tensor beta_grad)",
    _lif_linear_backward_shapes,
)
def _lif_linear_backward(
    current: Tensor,
    weight: Tensor,
    beta: Tensor,
    threshold: float,
    surrogate: SurrogateName,
    spike_delay: int,
    projected_grad: Tensor,
    counts_grad: Tensor | None,
    needs_beta_grad: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    if _is_for_steps(current, weight):
        from lifline.snn.kernels import cpu_steps  # noqa: PLC0415

        backward = cpu_steps.projection_backward
    else:
        backward = kernels_for(current).fused_backward
    current_grad, weight_grad, beta_grad = backward(
        current, weight, beta, threshold, surrogate, spike_delay, projected_grad, counts_grad, needs_beta_grad
    )
    return current_grad, weight_grad.contiguous(), beta.new_empty(0) if beta_grad is None else beta_grad
