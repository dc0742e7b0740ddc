"""Augmentation: each training image turned, scaled, sheared, shifted and bent a little, anew each time it is shown.

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
    """Distort a batch.

    Each pixel is taken from a place that is a sum of smooth functions of its own place: a constant, x, y and a bump
    for each node of the elastic grid. Their coefficients are drawn for each image. Pixels are interpolated by cubics,
    since linear interpolation blurs, and what the network is asked about is not blurred.

    Args:
        images: square, `[B, C, H, H]`.
        params: how far to go; where all are 0, the images come back as they are.
        generator: of the CPU, so that the same numbers are drawn for every device.

    Returns:
        The same shape; what comes from outside an image is 0.
    """
    if not any(params.model_dump().values()):
        return images
    side = images.shape[-1]
    coefficients = _draw_coefficients(len(images), side, params, generator)
    coefficients = coefficients.to(images.device, non_blocking=images.is_cuda)
    places = (_basis(side, images.device) @ coefficients).unflatten(1, (side, side))
    return grid_sample(images, places, mode="bicubic", align_corners=False).clamp(0, 1)


def _draw_coefficients(batch_size: int, side: int, params: AugmentationParams, generator: torch.Generator) -> Tensor:
    """Draw coefficients of x and y, `[B, 3 + nodes, 2]`; an image spans -1 to 1, as for `grid_sample`."""
    pixel = 2 / side

    def within(limit: float, *shape: int) -> Tensor:
        return limit * (2 * torch.rand(batch_size, *shape, generator=generator) - 1)

    angle, shear, scales = (
        within(math.radians(params.rotation)),
        within(params.shear),
        1 / (1 + within(params.scale, 2)),
    )
    from_x = torch.stack([angle.cos(), angle.sin()], 1) * scales[:, :1]
    from_y = torch.stack([shear - angle.sin(), angle.cos()], 1) * scales[:, 1:]
    shift = within(pixel * params.shift, 2)
    bumps = torch.randn(batch_size, NODES_PER_SIDE**2, 2, generator=generator) * (pixel * params.elastic)
    return torch.cat([torch.stack([shift, from_x, from_y], 1), bumps], 1)


@cache
def _basis(side: int, device: torch.device) -> Tensor:
    """Return the functions' values at each pixel, `[H * H, 3 + nodes]`."""
    centres = (torch.arange(side) + 0.5) * (2 / side) - 1
    y, x = torch.meshgrid(centres, centres, indexing="ij")
    nodes = torch.eye(NODES_PER_SIDE**2).unflatten(1, (1, NODES_PER_SIDE, NODES_PER_SIDE))
    bumps = interpolate(nodes, size=(side, side), mode="bicubic", align_corners=True).squeeze(1)
    return torch.cat([torch.stack([torch.ones_like(x), x, y]), bumps]).flatten(1).T.contiguous().to(device)
