"""An image becomes a train of spikes, as in snnTorch's first tutorial.

Eshraghian et al., "Training Spiking Neural Networks Using Lessons From Deep Learning", Proceedings of the IEEE
111, 2023, section III; `snntorch.spikegen.latency` and `snntorch.spikegen.rate`.
"""

from numbers import Integral

import torch
from torch import Tensor

DARK = 0.01
"""Pixels below it never fire by latency: snnTorch's default."""


def latency_spikes(images: Tensor, num_steps: int) -> Tensor:
    """Let each pixel fire once, the brighter the sooner: in step round((T - 1) * (1 - x)), counted from 0.

    The same as `snntorch.spikegen.latency` with `linear=True`, `normalize=True`, `clip=True` and its threshold of
    0.01. Where T is 1, all pixels that are not dark fire in the only step. No gradient reaches the images.

    Args:
        images: floats `[B, ...]` from 0 to 1; what is brighter than 1 counts as 1.
        num_steps: T, from 1.

    Returns:
        Spikes (0.0 or 1.0) `[T, B, ...]` of the images' type; pixels below `DARK` and NaN have none.

    Raises:
        ValueError: `num_steps` is not a whole number from 1.
    """
    _check(num_steps)
    times = ((num_steps - 1) * (1 - images.clamp(max=1))).round().int()
    steps = torch.arange(num_steps, dtype=times.dtype, device=images.device).view(-1, *[1] * images.dim())
    return ((times == steps) & (images >= DARK)).to(images.dtype)


def rate_spikes(images: Tensor, num_steps: int, generator: torch.Generator | None = None) -> Tensor:
    """Let each pixel fire in each step with its brightness as the probability, whatever others and other steps do.

    Args:
        images: floats `[B, ...]`; what is below 0 never fires, what is above 1 always does, NaN never.
        num_steps: T, from 1.
        generator: on the images' device; without one PyTorch's default generator is drawn from, as by dropout.

    Returns:
        Spikes (0.0 or 1.0) `[T, B, ...]` of the images' type.

    Raises:
        ValueError: `num_steps` is not a whole number from 1.
    """
    _check(num_steps)
    drawn = torch.rand(num_steps, *images.shape, generator=generator, dtype=images.dtype, device=images.device)
    return (drawn < images).to(images.dtype)


def _check(num_steps: int) -> None:
    if isinstance(num_steps, bool) or not isinstance(num_steps, Integral) or num_steps < 1:
        raise ValueError(f"num_steps is {num_steps!r}; allowed is a whole number from 1")
