"""Augmentation: each training image distorted a little, and maybe mirrored, anew each time it is shown.

Elastic distortion after Simard, Steinkraus and Platt, "Best Practices for Convolutional Neural Networks Applied to
Visual Document Analysis", ICDAR 2003; here the displacements are drawn at the nodes of a coarse grid, not smoothed.
"""

import math
from functools import cache

import torch
from torch import Tensor
from torch.nn.functional import grid_sample, interpolate

from lifline.params import AugmentationParams

NODES_PER_SIDE = 5


def augment(images: Tensor, params: AugmentationParams, generator: torch.Generator) -> Tensor:
    """Distort a batch, and mirror some of it.

    Args:
        images: `[B, C, H, W]`; all channels of an image are distorted alike.
        params: how far to go; where all are 0 or false, the images come back as they are.
        generator: of the CPU, so that the same numbers are drawn for every device.

    Returns:
        The same shape; what comes from outside an image is 0.
    """
    if any(params.model_dump(exclude={"flip"}).values()):
        images = _distorted(images, params, generator)
    return _mirrored(images, generator) if params.flip else images


def _mirrored(images: Tensor, generator: torch.Generator) -> Tensor:
    """Mirror each image left-right with a probability of 1/2."""
    chosen = torch.rand(len(images), 1, 1, 1, generator=generator) < 0.5  # noqa: PLR2004
    return torch.where(chosen.to(images.device, non_blocking=images.is_cuda), images.flip(-1), images)


def _distorted(images: Tensor, params: AugmentationParams, generator: torch.Generator) -> Tensor:
    """Turn, scale, shear, shift and bend each image.

    Each pixel is taken from a place that is a sum of smooth functions of its own place: a constant, x, y and a bump
    for each node of the elastic grid. Their coefficients are drawn for each image. Pixels are interpolated by cubics,
    since linear interpolation blurs, and what the network is asked about is not blurred.
    """
    height, width = images.shape[-2:]
    coefficients = _draw_coefficients(len(images), height, width, params, generator)
    coefficients = coefficients.to(images.device, non_blocking=images.is_cuda)
    places = (coefficients.mT @ _basis(height, width, images.device)).mT.unflatten(1, (height, width))
    return grid_sample(images, places, mode="bicubic", align_corners=False).clamp(0, 1)


def _draw_coefficients(
    batch_size: int, height: int, width: int, params: AugmentationParams, generator: torch.Generator
) -> Tensor:
    """Draw coefficients of x and y, `[B, 3 + nodes, 2]`; an image spans -1 to 1 along both, as for `grid_sample`."""
    pixel = torch.tensor([2 / width, 2 / height], dtype=torch.float64)  # in x and y

    def within(limit: float | Tensor, *shape: int) -> Tensor:
        return limit * (2 * torch.rand(batch_size, *shape, generator=generator) - 1)

    angle, shear, scales = (
        within(math.radians(params.rotation)),
        within(params.shear),
        1 / (1 + within(params.scale, 2)),
    )
    from_x = torch.stack([angle.cos(), angle.sin() * (width / height)], 1) * scales[:, :1]
    from_y = torch.stack([(shear - angle.sin()) * (height / width), angle.cos()], 1) * scales[:, 1:]
    shift = within((pixel * params.shift).float(), 2)
    bumps = torch.randn(batch_size, NODES_PER_SIDE**2, 2, generator=generator) * (pixel * params.elastic).float()
    return torch.cat([torch.stack([shift, from_x, from_y], 1), bumps], 1)


@cache
def _basis(height: int, width: int, device: torch.device) -> Tensor:
    """Return the functions' values at each pixel, `[3 + nodes, H * W]`."""
    y, x = torch.meshgrid(_centres(height), _centres(width), indexing="ij")
    nodes = torch.eye(NODES_PER_SIDE**2).unflatten(1, (1, NODES_PER_SIDE, NODES_PER_SIDE))
    bumps = interpolate(nodes, size=(height, width), mode="bicubic", align_corners=True).squeeze(1)
    return torch.cat([torch.stack([torch.ones_like(x), x, y]), bumps]).flatten(1).to(device)


def _centres(side: int) -> Tensor:
    """Return the places of a row's pixels between -1 and 1."""
    return (torch.arange(side) + 0.5) * (2 / side) - 1
