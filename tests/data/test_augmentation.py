import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lifline.data.augmentation import augment
from lifline.params import AugmentationParams

OFF = {"rotation": 0.0, "scale": 0.0, "shear": 0.0, "shift": 0.0, "elastic": 0.0}


def distorted(images, seed=0, **how):
    generator = torch.Generator().manual_seed(seed)
    return augment(images.unsqueeze(1), AugmentationParams(**(OFF | how)), generator).squeeze(1)


def blobs(count=200, row=13.5, column=13.5):
    """Images of one round spot, a smooth one, so that its centre is found between pixels."""
    y, x = torch.meshgrid(torch.arange(28.0), torch.arange(28.0), indexing="ij")
    return (-((y - row) ** 2 + (x - column) ** 2) / 8).exp().expand(count, 28, 28)


def centres(images):
    """Row and column of each image's centre of mass, `[B]` each."""
    mass = images.sum((1, 2))
    place = torch.arange(28.0)
    return (images.sum(2) * place).sum(1) / mass, (images.sum(1) * place).sum(1) / mass


def test_without_distortion_images_stay_as_they_are():
    images = torch.rand(3, 28, 28)
    generator = torch.Generator().manual_seed(0)
    before = generator.get_state()
    assert augment(images.unsqueeze(1), AugmentationParams(**OFF), generator).data_ptr() == images.data_ptr()
    assert torch.equal(generator.get_state(), before)


def test_next_to_no_distortion_changes_next_to_nothing():
    images = torch.rand(3, 28, 28)
    tiny = dict.fromkeys(OFF, 1e-6)
    torch.testing.assert_close(distorted(images, **tiny), images, atol=1e-4, rtol=0)


def test_shift_moves_each_image_elsewhere_but_no_farther_than_allowed():
    rows, columns = centres(distorted(blobs(), shift=3.0))
    for offset in (rows - 13.5, columns - 13.5):
        assert offset.abs().max() < 3.05
        assert offset.min() < -2.5
        assert offset.max() > 2.5
    assert abs(torch.corrcoef(torch.stack([rows, columns]))[0, 1]) < 0.3


def test_rotation_keeps_the_distance_from_the_centre_and_the_angle_in_bounds():
    rows, columns = centres(distorted(blobs(row=13.5, column=21.5), rotation=30.0))
    right, up = columns - 13.5, 13.5 - rows
    angles = torch.atan2(up, right).rad2deg()
    torch.testing.assert_close(torch.hypot(right, up), torch.full_like(up, 8), atol=0.1, rtol=0)
    assert angles.abs().max() < 30.5
    assert angles.min() < -25
    assert angles.max() > 25


def test_scale_moves_what_is_off_the_centre_along_its_axis():
    rows, columns = centres(distorted(blobs(row=13.5, column=21.5), scale=0.2))
    torch.testing.assert_close(rows, torch.full_like(rows, 13.5), atol=0.02, rtol=0)
    distance = columns - 13.5
    assert distance.min() > 8 * 0.8 - 0.1
    assert distance.max() < 8 * 1.2 + 0.1
    assert distance.max() - distance.min() > 2


def test_shear_slants_by_pixels_per_pixel_of_height():
    rows, columns = centres(distorted(blobs(row=21.5, column=13.5), shear=0.25))
    torch.testing.assert_close(rows, torch.full_like(rows, 21.5), atol=0.1, rtol=0)
    assert (columns - 13.5).abs().max() < 8 * 0.25 + 0.1
    assert (columns - 13.5).std() > 0.5


def test_elastic_displaces_by_its_standard_deviation_at_the_nodes():
    ramp = (torch.arange(28.0) / 28).expand(2000, 28, 28)  # its brightness tells where a pixel comes from
    for axes in ((0, 1, 2), (0, 2, 1)):
        displacement = (
            distorted(ramp.permute(axes), elastic=1.0)[:, 13, 13] * 28 - 13
        )  # the nearest to the central node
        assert displacement.mean().abs() < 0.1
        assert displacement.std() == pytest.approx(1, abs=0.05)


def test_elastic_bends_places_apart_differently():
    left, right = (centres(distorted(blobs(count=500, column=column), elastic=1.0))[0] for column in (5.5, 21.5))
    assert torch.corrcoef(torch.stack([left, right]))[0, 1].abs() < 0.3


@given(seed=st.integers(0, 2**32), count=st.integers(1, 20))
def test_pixels_stay_between_black_and_white(seed, count):
    images = torch.rand(count, 28, 28, generator=torch.Generator().manual_seed(seed))
    result = distorted(images, seed, rotation=20.0, scale=0.3, shear=0.3, shift=5.0, elastic=3.0)
    assert result.shape == images.shape
    assert result.min() >= 0
    assert result.max() <= 1 + 1e-6
    assert math.isfinite(result.sum())


def test_the_generator_alone_decides():
    images = torch.rand(4, 28, 28)
    assert torch.equal(distorted(images, 1, elastic=1.0), distorted(images, 1, elastic=1.0))
    assert not torch.equal(distorted(images, 1, elastic=1.0), distorted(images, 2, elastic=1.0))
