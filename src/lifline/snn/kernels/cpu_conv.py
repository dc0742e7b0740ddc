"""LIF neurons on the CPU whose spikes are convolved and max-pooled: what is asked for, and in which memory layout.

Neither spikes nor the convolution's output are stored over time; `conv_kernels.py` says how.
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lifline.choices import SurrogateName
from lifline.snn.kernels.conv_kernels import launch_backward, launch_forward
from lifline.snn.kernels.cpu import SURROGATE_CODES, scratch
from lifline.snn.kernels.cpu_steps import integers
from lifline.snn.kernels.threads import num_threads, run
from lifline.snn.kernels.vectors import LANES, filled_up


class Geometry(NamedTuple):
    """Sizes of a convolution of stride 1, `outputs` x `channels` x `kernel` x `kernel`, and of the pooling after it."""

    channels: int
    height: int
    width: int
    outputs: int
    kernel: int
    padding: int
    pool: int
    pooled_height: int
    pooled_width: int
    lanes: int
    """Outputs, filled up."""
    row: int
    """Numbers in a row of a patch, kernel * channels, filled up."""
    stride: int
    """Numbers in a padded row of the image, and room for what `row` is filled up by."""
    columns: int
    """Positions in a row of the unpooled gradient, with all that a pixel's neighbours could see."""


def geometry_of(current: Tensor, weight: Tensor, padding: int, pool: int) -> Geometry:
    """Return the sizes for a current `[..., C, H, W]` and a weight `[O, C, k, k]`."""
    channels, height, width = current.shape[-3:]
    outputs, kernel = len(weight), weight.shape[-1]
    row = filled_up(kernel * channels)
    return Geometry(
        channels, height, width, outputs, kernel, padding, pool,
        (height + 2 * padding - kernel + 1) // pool, (width + 2 * padding - kernel + 1) // pool,
        filled_up(outputs), row, filled_up((width + 2 * padding) * channels + row - kernel * channels),
        width + padding + max(padding, kernel - 1),
    )  # fmt: skip


def conv_forward(
    current: Tensor,
    weight: Tensor,
    bias: Tensor,
    betas: Tensor,
    threshold: float,
    num_steps: int,
    spike_delay: int,
    padding: int,
    pool: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return pooled currents, spike counts, and what the backward pass wants to know.

    Args:
        current: `[B, C, H, W]`, the same for `num_steps`, or `[T, B, C, H, W]`; not copied where channels are last in
            memory.
        weight: `[O, C, k, k]`.
        bias: `[O]`.
        betas: `[C, H, W]`, membrane decay of each neuron.
        threshold: membrane above which a neuron fires.
        num_steps: T.
        spike_delay: 1 lets each spike arrive one step late.
        padding: of the convolution, whose stride is 1.
        pool: size and stride of the max pooling, at most 16: a place in its window fits into a byte.

    Returns:
        Pooled currents `[T, B, O, H', W']` and counts `[B, C, H, W]`, channels last in memory, and the place of each
        maximum in its window, bytes `[T, B, H' * W', lanes]`.
    """
    threads, sizes = num_threads(), geometry_of(current, weight, padding, pool)
    batch, neurons = current.shape[-4], betas.numel()
    positions = sizes.pooled_height * sizes.pooled_width
    pooled = current.new_empty(num_steps, batch, sizes.pooled_height, sizes.pooled_width, sizes.outputs)
    places = torch.empty(num_steps, batch, positions, sizes.lanes, dtype=torch.uint8)
    counts = current.new_empty(batch, sizes.height, sizes.width, sizes.channels)
    run(
        launch_forward,
        threads, sizes, _by_image(current), _channels_last(betas).reshape(-1), np.float32(threshold), spike_delay,
        _rows(weight, sizes), _filled_bias(bias, sizes),
        pooled.numpy().reshape(num_steps, batch, -1), places.numpy().reshape(num_steps, batch, -1),
        counts.numpy().reshape(batch, -1),
        scratch(threads, neurons + LANES), integers(threads, neurons + LANES),
        integers(threads, sizes.height * sizes.width + 1), integers(threads, sizes.kernel**2 * sizes.channels + LANES),
        scratch(threads, positions * sizes.lanes),
    )  # fmt: skip
    return pooled.movedim(-1, -3), counts.movedim(-1, -3), places


def conv_backward(
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
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """Return the gradients of current, weight, bias and, where it is needed, betas `[C, H, W]`.

    Args:
        current: as in `conv_forward`, like all that is named as there.
        weight: likewise.
        betas: likewise.
        places: what it returned.
        threshold: as there.
        surrogate: what stands for the derivative of a spike.
        spike_delay: as there.
        padding: as there.
        pool: as there.
        pooled_grad: `[T, B, O, H', W']`; not copied where channels are last in memory.
        counts_grad: `[B, C, H, W]`, None where there is none.
        needs_beta_grad: whether betas' gradient is computed.
    """
    threads, sizes = num_threads(), geometry_of(current, weight, padding, pool)
    (num_steps, batch), neurons = places.shape[:2], betas.numel()
    positions = sizes.pooled_height * sizes.pooled_width
    current_grad = current.new_empty(*current.shape[:-3], sizes.height, sizes.width, sizes.channels)
    weight_grads = current.new_zeros(threads, sizes.kernel, sizes.channels, sizes.kernel, sizes.lanes)
    bias_grads = current.new_zeros(threads, sizes.lanes)
    beta_grads = current.new_zeros(threads, neurons if needs_beta_grad else 0)
    run(
        launch_backward,
        threads, sizes, _by_image(current), _channels_last(betas).reshape(-1), np.float32(threshold), spike_delay,
        SURROGATE_CODES[surrogate], _patches(weight, sizes), *_channels_and_corners(sizes),
        _channels_last(pooled_grad).reshape(num_steps, batch, -1), places.numpy().reshape(num_steps, batch, -1),
        _channels_last(counts_grad).reshape(batch, -1) if counts_grad is not None else np.empty((0, 0), np.float32),
        current_grad.numpy().reshape(current.shape[:-4].numel(), batch, neurons),
        weight_grads.numpy().reshape(threads, -1), bias_grads.numpy(), beta_grads.numpy(),
        scratch(threads, num_steps, neurons + LANES), integers(threads, neurons + LANES),
        integers(threads, sizes.height * sizes.width + 1), integers(threads, neurons),
        integers(threads, sizes.channels), integers(threads, sizes.height + 1, sizes.channels),
        scratch(threads, positions * sizes.lanes),
        scratch(threads, sizes.pooled_height * pool * sizes.columns * sizes.lanes),
        integers(threads, positions * sizes.outputs), scratch(threads, positions * sizes.outputs),
        integers(threads, positions * pool * pool + 1),
        scratch(threads, (sizes.height + 2 * padding) * sizes.stride),
        *(scratch(threads, 1, neurons) for _ in range(4)),
    )  # fmt: skip
    weight_grad = weight_grads.sum(0)[..., : sizes.outputs].permute(3, 1, 0, 2)
    beta_grad = None
    if needs_beta_grad:
        beta_grad = beta_grads.sum(0).reshape(sizes.height, sizes.width, sizes.channels).movedim(-1, 0)
    return current_grad.movedim(-1, -3), weight_grad, bias_grads.sum(0)[: sizes.outputs], beta_grad


def _channels_last(tensor: Tensor) -> NDArray[np.float32]:
    return tensor.detach().movedim(-3, -1).contiguous().numpy()


def _by_image(current: Tensor) -> NDArray[np.float32]:
    """View a current as `[T or 1, B, H * W * C]`."""
    num_rows, neurons = current.shape[:-4].numel(), current.shape[-3:].numel()
    return _channels_last(current).reshape(num_rows, current.shape[-4], neurons)


def _rows(weight: Tensor, sizes: Geometry) -> NDArray[np.float32]:
    """Return the weights a row for each number of a patch, `[k * k * C, lanes]`, one after another."""
    rows = weight.new_zeros(sizes.kernel * sizes.kernel * sizes.channels, sizes.lanes)
    rows[:, : sizes.outputs] = weight.detach().movedim(1, -1).reshape(sizes.outputs, -1).T
    return rows.numpy().reshape(-1)


def _patches(weight: Tensor, sizes: Geometry) -> NDArray[np.float32]:
    """Return the weights by rows of a patch, each filled up, `[k, O, row]`, one after another."""
    patches = weight.new_zeros(sizes.kernel, sizes.outputs, sizes.row)
    by_row = weight.detach().permute(2, 0, 3, 1)
    patches[:, :, : sizes.kernel * sizes.channels] = by_row.reshape(sizes.kernel, sizes.outputs, -1)
    return patches.numpy().reshape(-1)


def _channels_and_corners(sizes: Geometry) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return each neuron's channel, and where the positions that see it begin in the unpooled gradient's first row."""
    y, x, channels = np.indices((sizes.height, sizes.width, sizes.channels), np.int32).reshape(3, -1)
    corners = (y * sizes.columns + sizes.width - 1 + sizes.padding - x) * sizes.lanes
    return channels.copy(), corners.astype(np.int32)


def _filled_bias(bias: Tensor, sizes: Geometry) -> NDArray[np.float32]:
    filled = bias.new_zeros(sizes.lanes)
    filled[: sizes.outputs] = bias.detach()
    return filled.numpy()
