import math

import numpy as np
import pytest
import scipy.ndimage
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import grid_sample, interpolate

from lifline.data.augmentation import augment
from lifline.params import AugmentationParams

OFF = {"rotation": 0.0, "scale": 0.0, "shear": 0.0, "shift": 0.0, "elastic": 0.0, "flip": False}
DISTORTIONS = [name for name in OFF if name != "flip"]
ALL = {"rotation": 20.0, "scale": 0.3, "shear": 0.3, "shift": 5.0, "elastic": 3.0}


def augmented(images, seed=0, **how):
    return augment(images, AugmentationParams(**(OFF | how)), torch.Generator().manual_seed(seed))


def distorted(images, seed=0, **how):
    return augmented(images.unsqueeze(1), seed, **how).squeeze(1)


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
    tiny = dict.fromkeys(DISTORTIONS, 1e-6)
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
    result = distorted(images, seed, **ALL)
    assert result.shape == images.shape
    assert result.min() >= 0
    assert result.max() <= 1 + 1e-6
    assert math.isfinite(result.sum())


def test_the_generator_alone_decides():
    images = torch.rand(4, 28, 28)
    assert torch.equal(distorted(images, 1, elastic=1.0), distorted(images, 1, elastic=1.0))
    assert not torch.equal(distorted(images, 1, elastic=1.0), distorted(images, 2, elastic=1.0))


# Square images: not a bit has changed since there are others.


def augment_of_squares(images, params, generator):
    """What `augment` was when it knew only square images; its bits are those of trainings of then."""
    side, nodes_per_side = images.shape[-1], 5
    pixel = 2 / side

    def within(limit, *shape):
        return limit * (2 * torch.rand(len(images), *shape, generator=generator) - 1)

    angle, shear, scales = (
        within(math.radians(params.rotation)),
        within(params.shear),
        1 / (1 + within(params.scale, 2)),
    )
    from_x = torch.stack([angle.cos(), angle.sin()], 1) * scales[:, :1]
    from_y = torch.stack([shear - angle.sin(), angle.cos()], 1) * scales[:, 1:]
    shift = within(pixel * params.shift, 2)
    bumps = torch.randn(len(images), nodes_per_side**2, 2, generator=generator) * (pixel * params.elastic)
    coefficients = torch.cat([torch.stack([shift, from_x, from_y], 1), bumps], 1)
    centres = (torch.arange(side) + 0.5) * (2 / side) - 1
    y, x = torch.meshgrid(centres, centres, indexing="ij")
    nodes = torch.eye(nodes_per_side**2).unflatten(1, (1, nodes_per_side, nodes_per_side))
    surfaces = interpolate(nodes, size=(side, side), mode="bicubic", align_corners=True).squeeze(1)
    basis = torch.cat([torch.stack([torch.ones_like(x), x, y]), surfaces]).flatten(1).T.contiguous()
    places = (basis @ coefficients).unflatten(1, (side, side))
    return grid_sample(images, places, mode="bicubic", align_corners=False).clamp(0, 1)


@pytest.mark.parametrize(
    "how", [{"rotation": 8.0, "scale": 0.08, "shear": 0.1, "shift": 1.5, "elastic": 0.75}, ALL, {"shift": 2.0}]
)
@pytest.mark.parametrize(("shape", "tolerance"), [((64, 1, 28, 28), 0), ((9, 3, 33, 33), 1e-4)])
def test_a_square_image_is_distorted_as_ever_and_one_of_28_pixels_bit_by_bit(how, shape, tolerance):
    images = torch.rand(shape, generator=torch.Generator().manual_seed(1))
    ours, theirs = torch.Generator().manual_seed(2), torch.Generator().manual_seed(2)
    params = AugmentationParams(**(OFF | how))
    for _ in range(2):
        distorted, expected = augment(images, params, ours), augment_of_squares(images, params, theirs)
        assert (distorted - expected).abs().max() <= tolerance
    assert torch.equal(ours.get_state(), theirs.get_state())


# Images of any shape: pixels are square, whatever the image is.


def waves(height, width, channels=1):
    """A smooth image `[1, C, H, W]` that looks the same from nowhere, dark towards the edges."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    colours = [((0.3 + c) * y / 5 + 1).sin() * (x / (4 + c) + y / 9).cos() for c in range(channels)]
    edges = (math.pi * (y + 0.5) / height).sin() * (math.pi * (x + 0.5) / width).sin()
    return (torch.stack(colours) * 0.5 + 0.5)[None] * edges.square()


def all_at_their_limit(monkeypatch):
    """Let what is drawn evenly be its upper limit: `rotation=90.0` turns by 90 degrees."""
    monkeypatch.setattr(torch, "rand", lambda *shape, generator: torch.ones(shape))


def test_a_quarter_turn_of_a_square(monkeypatch):
    all_at_their_limit(monkeypatch)
    images = waves(28, 28, channels=3)
    torch.testing.assert_close(augmented(images, rotation=90.0), images.rot90(1, (2, 3)), atol=1e-4, rtol=0)


@pytest.mark.parametrize(("height", "width"), [(20, 32), (32, 20)])
def test_a_quarter_turn_of_another_shape_turns_its_middle_and_loses_the_rest(monkeypatch, height, width):
    all_at_their_limit(monkeypatch)
    images = torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(0))
    turned = augmented(images, rotation=90.0)
    top, left = (height - 20) // 2, (width - 20) // 2
    middle = (..., slice(top, top + 20), slice(left, left + 20))
    torch.testing.assert_close(turned[middle], images[middle].rot90(1, (2, 3)), atol=1e-4, rtol=0)
    turned[middle] = 0
    assert turned.abs().max() < 1e-4


@pytest.mark.parametrize(("height", "width"), [(24, 40), (40, 24), (28, 28)])
@pytest.mark.parametrize("degrees", [10.0, 37.0])
def test_a_rotation_is_scipys(monkeypatch, height, width, degrees):
    all_at_their_limit(monkeypatch)
    image = waves(height, width)
    ours = augmented(image, rotation=degrees)[0, 0]
    theirs = scipy.ndimage.rotate(image[0, 0].double().numpy(), degrees, reshape=False, order=3, mode="grid-constant")
    np.testing.assert_allclose(ours, theirs, atol=0.01)


@pytest.mark.parametrize(
    ("how", "matrix", "offset"),
    [
        ({"shear": 0.5}, [[1, 0], [0.5, 1]], [0, 0]),
        ({"scale": 0.25}, [[0.8, 0], [0, 0.8]], [0, 0]),
        ({"shift": 4.0}, [[1, 0], [0, 1]], [4, 4]),
    ],
)
@pytest.mark.parametrize(("height", "width"), [(24, 40), (40, 24)])
def test_other_distortions_are_in_pixels_too(monkeypatch, height, width, how, matrix, offset):
    """SciPy takes pixel (row, column) from `matrix @ (row, column) + offset`, here seen from the centre."""
    all_at_their_limit(monkeypatch)
    image = waves(height, width)
    centre = np.array([height - 1, width - 1]) / 2
    theirs = scipy.ndimage.affine_transform(
        image[0, 0].double().numpy(), np.array(matrix), centre - matrix @ centre + offset, order=3, mode="grid-constant"
    )
    np.testing.assert_allclose(augmented(image, **how)[0, 0], theirs, atol=0.015)


def test_elastic_displaces_by_pixels_along_both_sides():
    height, width = 21, 41  # odd, so that a pixel is in the centre, where a node is
    rows = (torch.arange(height) / height)[:, None].expand(2000, 1, height, width)
    columns = (torch.arange(width) / width).expand(2000, 1, height, width)
    for ramp, side in ((rows, height), (columns, width)):
        displacement = augmented(ramp, elastic=1.0)[:, 0, height // 2, width // 2] * side - side // 2
        assert displacement.mean().abs() < 0.1
        assert displacement.std() == pytest.approx(1, abs=0.05)


@given(
    seed=st.integers(0, 2**32),
    shape=st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(1, 40), st.integers(1, 40)),
    flip=st.booleans(),
)
def test_every_shape_is_kept(seed, shape, flip):
    images = torch.rand(shape, generator=torch.Generator().manual_seed(seed))
    before = images.clone()
    result = augmented(images, seed, **ALL, flip=flip)
    assert result.shape == images.shape
    assert result.min() >= 0
    assert result.max() <= 1
    assert torch.equal(images, before)


def test_the_colours_of_an_image_are_distorted_alike():
    images = torch.rand(5, 3, 20, 30, generator=torch.Generator().manual_seed(0))
    together = augmented(images, 7, **ALL, flip=True)
    for channel in range(3):
        alone = augmented(images[:, channel : channel + 1], 7, **ALL, flip=True)
        assert torch.equal(together[:, channel], alone[:, 0])


# Mirroring.


def test_about_half_of_the_images_are_mirrored_exactly_and_the_others_stay():
    images = torch.rand(400, 3, 4, 7, generator=torch.Generator().manual_seed(0))
    result = augmented(images, flip=True)
    mirrored = (result == images.flip(-1)).flatten(1).all(1)
    same = (result == images).flatten(1).all(1)
    assert (mirrored ^ same).all()
    assert abs(mirrored.sum() - 200) <= 50  # 5 standard deviations of a binomial


def test_mirroring_follows_distortion():
    images = torch.rand(50, 1, 12, 16, generator=torch.Generator().manual_seed(0))
    plain, result = augmented(images, 3, **ALL), augmented(images, 3, **ALL, flip=True)
    mirrored = (result == plain.flip(-1)).flatten(1).all(1)
    assert (mirrored | (result == plain).flatten(1).all(1)).all()
    assert 0 < mirrored.sum() < 50


def test_the_generator_alone_decides_what_is_mirrored():
    images = torch.rand(64, 1, 5, 5)
    assert torch.equal(augmented(images, 1, flip=True), augmented(images, 1, flip=True))
    assert not torch.equal(augmented(images, 1, flip=True), augmented(images, 2, flip=True))
