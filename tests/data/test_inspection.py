import pytest
import torch

from lifline.data.datasets import Dataset
from lifline.data.images import LabelledImages
from lifline.data.inspection import inspect_dataset
from tests.conftest import MNIST, first


def two_classes(count, seed=0):
    """Noise of bytes; images of class 1 are brighter above."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 2
    images = torch.randint(0, 128, (count, 1, 6, 6), generator=generator)
    images[labels == 1, :, :3] += 100
    return LabelledImages(images.byte(), labels)


def inspected(train, test):
    return inspect_dataset(Dataset(MNIST, train, test, ""))


def test_parts_are_counted_and_images_in_both_are_found():
    train, test = two_classes(40), two_classes(10, seed=1)
    test.images[3], test.images[7] = train.images[0], train.images[39]
    figures = inspected(train, test)
    assert (figures.num_train, figures.num_test, figures.overlap) == (40, 10, 0.2)


def test_an_image_is_as_bright_as_its_brightest_pixel():
    train, test = two_classes(4), two_classes(4)
    train.images[:] = 0
    train.images[0, 0, 2, 2] = 255
    test.images[:] = 51
    assert inspected(train, test).brightness == pytest.approx({"train": 0.25, "test": 0.2})


@pytest.mark.parametrize("is_sorted", [False, True])
def test_labels_that_say_something_agree_with_the_nearest_class(is_sorted):
    train = two_classes(600)
    if is_sorted:  # as folders by class are read
        order = train.labels.argsort(stable=True)
        train = LabelledImages(train.images[order], train.labels[order])
    figures = inspected(train, two_classes(10))
    assert figures.agreement > 0.95
    assert figures.luck == pytest.approx(4 * (0.25 / 300) ** 0.5, rel=0.01)
    assert figures.chance - figures.luck == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("seed", range(5))
def test_labels_that_say_nothing_agree_by_luck_alone(seed):
    train = two_classes(600)
    order = torch.randperm(600, generator=torch.Generator().manual_seed(seed))
    figures = inspected(LabelledImages(train.images, train.labels[order]), two_classes(10))
    assert figures.agreement < figures.chance


def test_luck_matters_the_more_the_fewer_images_there_are():
    lucks = [inspected(two_classes(count), two_classes(10)).luck for count in (40, 400, 4_000)]
    assert lucks == sorted(lucks, reverse=True)
    assert lucks[-1] < lucks[0] / 5


def test_few_images_are_looked_at_without_a_fault():
    assert 0 <= inspected(two_classes(2), two_classes(1)).agreement <= 1


def test_a_data_set_without_test_images_has_none_that_overlap():
    assert inspected(two_classes(2), two_classes(0)).overlap == 0


def test_published_sets_show_none_of_the_faults(mnist):
    figures = inspect_dataset(mnist._replace(train=first(mnist.train, 6_000), test=first(mnist.test, 1_000)))
    assert figures.overlap == 0
    assert min(figures.brightness.values()) > 0.9
    assert figures.agreement > 0.7 > figures.chance
