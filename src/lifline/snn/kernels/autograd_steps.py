"""Operators for neurons of hidden layers on the CPU, of which the current is kept, and what they fire where it must."""

from typing import Any

import torch
from torch import Tensor

from lifline.choices import SurrogateName
from lifline.snn.kernels.registration import Gradients, operator

# Spikes `[T, B, N]` and counts `[B, N]` from a float32 current `[B, N]` or `[T, B, N]` and `beta` `[N]`.


def _spikes_shapes(
    current: Tensor, beta: Tensor, threshold: float, num_steps: int, surrogate: str, spike_delay: int
) -> tuple[Tensor, Tensor]:
    return current.new_empty(num_steps, *current.shape[-2:]), current.new_empty(current.shape[-2:])


def _spikes_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    current, beta, *settings = inputs
    ctx.save_for_backward(current, beta)
    ctx.set_materialize_grads(False)
    ctx.settings = settings


def _spikes_gradients(ctx: Any, spikes_grad: Tensor | None, counts_grad: Tensor | None) -> Gradients:
    needs_beta_grad = ctx.needs_input_grad[1]
    current_grad, beta_grad = torch.ops.lifline.lif_spikes_backward.default(
        *ctx.saved_tensors, *ctx.settings, spikes_grad, counts_grad, needs_beta_grad
    )
    return current_grad, beta_grad if needs_beta_grad else None, *[None] * 4


@operator(
    "lif_spikes(Tensor current, Tensor beta, float threshold, SymInt num_steps, str surrogate, int spike_delay)"
    " -> (Tensor spikes, Tensor counts)",
    _spikes_shapes,
    _spikes_gradients,
    _spikes_context,
    kinds_of_device=["CPU"],
)
def _spikes(
    current: Tensor, beta: Tensor, threshold: float, num_steps: int, surrogate: SurrogateName, spike_delay: int
) -> tuple[Tensor, Tensor]:
    from lifline.snn.kernels import cpu_steps  # noqa: PLC0415 - half a second

    return cpu_steps.spikes_forward(current, beta, threshold, num_steps, spike_delay)


def _spikes_backward_shapes(current: Tensor, beta: Tensor, *settings: Any) -> tuple[Tensor, Tensor]:
    return current.new_empty(current.shape), beta.new_empty(beta.shape if settings[-1] else 0)


@operator(
    "lif_spikes_backward(Tensor current, Tensor beta, float threshold, SymInt num_steps, str surrogate,"
    " int spike_delay, Tensor? spikes_grad, Tensor? counts_grad, bool needs_beta_grad)"
    " -> (Tensor current_grad, Tensor beta_grad)",
    _spikes_backward_shapes,
    kinds_of_device=["CPU"],
)
def _spikes_backward(
    current: Tensor,
    beta: Tensor,
    threshold: float,
    num_steps: int,
    surrogate: SurrogateName,
    spike_delay: int,
    spikes_grad: Tensor | None,
    counts_grad: Tensor | None,
    needs_beta_grad: bool,
) -> tuple[Tensor, Tensor]:
    from lifline.snn.kernels import cpu_steps  # noqa: PLC0415

    current_grad, beta_grad = cpu_steps.spikes_backward(
        current, beta, threshold, num_steps, surrogate, spike_delay, spikes_grad, counts_grad, needs_beta_grad
    )
    return current_grad, beta.new_empty(0) if beta_grad is None else beta_grad


# Spikes convolved and max-pooled: currents `[T, B, O, H', W']`, counts `[B, C, H, W]` and the places of the maxima,
# from a float32 current `[B, C, H, W]` or `[T, B, C, H, W]` and `betas` `[C, H, W]`.


def _conv_shapes(
    current: Tensor,
    weight: Tensor,
    bias: Tensor,
    betas: Tensor,
    threshold: float,
    num_steps: int,
    surrogate: str,
    spike_delay: int,
    padding: int,
    pool: int,
) -> tuple[Tensor, Tensor, Tensor]:
    from lifline.snn.kernels.vectors import filled_up  # noqa: PLC0415 - half a second

    batch, channels, *sides = current.shape[-4:]
    outputs, kernel = weight.shape[0], weight.shape[-1]
    height, width = ((side + 2 * padding - kernel + 1) // pool for side in sides)
    pooled = current.new_empty(num_steps, batch, height, width, outputs).movedim(-1, -3)
    counts = current.new_empty(batch, *sides, channels).movedim(-1, -3)
    places = current.new_empty(num_steps, batch, height * width, filled_up(outputs), dtype=torch.uint8)
    return pooled, counts, places


def _conv_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    current, weight, _, betas, threshold, _, surrogate, spike_delay, padding, pool = inputs
    pooled, _, places = output
    ctx.save_for_backward(current, weight, betas, places)
    ctx.mark_non_differentiable(places)
    ctx.set_materialize_grads(False)
    ctx.pooled_shape, ctx.settings = pooled.shape, (threshold, surrogate, spike_delay, padding, pool)


def _conv_gradients(ctx: Any, pooled_grad: Tensor | None, counts_grad: Tensor | None, _: Tensor | None) -> Gradients:
    needs_beta_grad = ctx.needs_input_grad[3]
    if pooled_grad is None:
        pooled_grad = ctx.saved_tensors[0].new_zeros(ctx.pooled_shape)
    *grads, beta_grad = torch.ops.lifline.lif_conv_backward.default(
        *ctx.saved_tensors, *ctx.settings, pooled_grad, counts_grad, needs_beta_grad
    )
    return *grads, beta_grad if needs_beta_grad else None, *[None] * 6


@operator(
    "lif_conv(Tensor current, Tensor weight, Tensor bias, Tensor betas, float threshold, SymInt num_steps,"
    " str surrogate, int spike_delay, int padding, int pool) -> (Tensor pooled, Tensor counts, Tensor places)",
    _conv_shapes,
    _conv_gradients,
    _conv_context,
    kinds_of_device=["CPU"],
)
def _conv(
    current: Tensor,
    weight: Tensor,
    bias: Tensor,
    betas: Tensor,
    threshold: float,
    num_steps: int,
    surrogate: SurrogateName,
    spike_delay: int,
    padding: int,
    pool: int,
) -> tuple[Tensor, Tensor, Tensor]:
    from lifline.snn.kernels import cpu_conv  # noqa: PLC0415

    return cpu_conv.conv_forward(current, weight, bias, betas, threshold, num_steps, spike_delay, padding, pool)


def _conv_backward_shapes(
    current: Tensor, weight: Tensor, betas: Tensor, *settings: Any
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    current_grad = current.new_empty(*current.shape[:-3], *current.shape[-2:], current.shape[-3]).movedim(-1, -3)
    weight_grad, bias_grad = weight.new_empty(weight.shape), weight.new_empty(weight.shape[0])
    return current_grad, weight_grad, bias_grad, betas.new_empty(betas.shape if settings[-1] else 0)


@operator(
    "lif_conv_backward(Tensor current, Tensor weight, Tensor betas, Tensor places, float threshold, str surrogate,"
    " int spike_delay, int padding, int pool, Tensor pooled_grad, Tensor? counts_grad, bool needs_beta_grad)"
    " -> (Tensor current_grad, Tensor weight_grad, Tensor bias_grad, Tensor beta_grad)",
    _conv_backward_shapes,
    kinds_of_device=["CPU"],
)
def _conv_backward(
    current: Tensor,
    weight: Tensor,
    betas: Tensor,
    places: Tensor,
    threshold: float,
    surrogate: SurrogateName,
    spike_delay: int,
    padding: int,
    pool: int,
    pooled_grad: Tensor,
    counts_grad: Tensor | None,
    needs_beta_grad: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    from lifline.snn.kernels import cpu_conv  # noqa: PLC0415

    current_grad, weight_grad, bias_grad, beta_grad = cpu_conv.conv_backward(
        current, weight, betas, places, threshold, surrogate, spike_delay, padding, pool,
        pooled_grad, counts_grad, needs_beta_grad,
    )  # fmt: skip
    beta_grad = betas.new_empty(0) if beta_grad is None else beta_grad.contiguous()
    return current_grad, weight_grad.contiguous(), bias_grad, beta_grad
