"""The kernels are differentiated here; `kernels` is the module for a kind of device, cpu.py or cuda.py."""

from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from lifline.choices import SurrogateName

Gradients = tuple[Tensor | None, ...]


class LifFunction(torch.autograd.Function):
    """Compute spikes and membrane, `[T, B, N]`, from a float32 current `[B, N]` or `[T, B, N]` and `beta` `[N]`."""

    @staticmethod
    def forward(  # noqa: D102
        ctx: Any,
        kernels: ModuleType,
        current: Tensor,
        beta: Tensor,
        threshold: float,
        num_steps: int,
        surrogate: SurrogateName,
        spike_delay: int,
    ) -> tuple[Tensor, Tensor]:
        betas = beta.expand(current.shape[-2:]).contiguous()
        spikes, membrane = current.new_empty(num_steps, *betas.shape), current.new_empty(num_steps, *betas.shape)
        kernels.lif_forward(current, betas, threshold, spike_delay, spikes, membrane)
        ctx.save_for_backward(membrane, betas)
        ctx.set_materialize_grads(False)
        ctx.kernels, ctx.current_shape, ctx.settings = kernels, current.shape, (threshold, surrogate, spike_delay)
        return spikes, membrane

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, spikes_grad: Tensor | None, membrane_grad: Tensor | None) -> Gradients:  # noqa: D102
        membrane, betas = ctx.saved_tensors
        current_grad = membrane.new_zeros(ctx.current_shape)
        beta_grads = torch.zeros_like(betas) if ctx.needs_input_grad[2] else None
        ctx.kernels.lif_backward(membrane, betas, *ctx.settings, spikes_grad, membrane_grad, current_grad, beta_grads)
        return None, current_grad, None if beta_grads is None else beta_grads.sum(0), *[None] * 4


class LifLinearFunction(torch.autograd.Function):
    """Compute projected spikes `[T, B, C]` and spike counts `[B, N]` from a constant float32 current `[B, N]`."""

    @staticmethod
    def forward(  # noqa: D102
        ctx: Any,
        kernels: ModuleType,
        current: Tensor,
        weight: Tensor,
        bias: Tensor,
        beta: Tensor,
        threshold: float,
        num_steps: int,
        surrogate: SurrogateName,
        spike_delay: int,
    ) -> tuple[Tensor, Tensor]:
        projected, counts = current.new_empty(num_steps, len(current), len(weight)), current.new_empty(current.shape)
        kernels.fused_forward(current, weight, bias, beta, threshold, spike_delay, projected, counts)
        ctx.save_for_backward(current, weight, beta)
        ctx.set_materialize_grads(False)
        ctx.kernels, ctx.projected_shape, ctx.settings = kernels, projected.shape, (threshold, surrogate, spike_delay)
        return projected, counts

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, projected_grad: Tensor | None, counts_grad: Tensor | None) -> Gradients:  # noqa: D102
        current, weight, beta = ctx.saved_tensors
        if projected_grad is None:
            projected_grad = current.new_zeros(ctx.projected_shape)
        current_grad, weight_grad, beta_grad = ctx.kernels.fused_backward(
            current, weight, beta, *ctx.settings, projected_grad, counts_grad, ctx.needs_input_grad[4]
        )
        return None, current_grad, weight_grad, projected_grad.sum((0, 1)), beta_grad, *[None] * 4
