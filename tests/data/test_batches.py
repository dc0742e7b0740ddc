import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lifline.data.batches import as_input, batches_in_order, shuffled_batches
from lifline.data.images import LabelledImages, split_training_images
from lifline.errors import DataError
from lifline.params import DataParams


def numbered(count: int) -> LabelledImages:
    """Images that hold their own number."""
    numbers = torch.arange(count)
    return LabelledImages(numbers.to(torch.uint8).reshape(-1, 1, 1, 1).expand(-1, 1, 28, 28), numbers)


def order(data, batch_size, seed) -> list[int]:
    generator = torch.Generator().manual_seed(seed)
    return torch.cat([labels for _, labels in shuffled_batches(data, batch_size, generator)]).tolist()


@given(count=st.integers(1, 200), batch_size=st.integers(1, 250))
def test_batches_show_each_image_once_with_its_label(count, batch_size):
    data = numbered(count)
    for batches in (batches_in_order(data, batch_size), shuffled_batches(data, batch_size, torch.Generator())):
        seen = []
        for images, labels in batches:
            assert images.shape == (len(labels), 1, 28, 28)
            assert torch.equal((images[:, 0, 0, 0] * 255).round().long(), labels)
            seen += labels.tolist()
        assert sorted(seen) == list(range(count))


def test_the_seed_decides_the_order():
    data = numbered(100)
    assert order(data, 7, seed=1) == order(data, 7, seed=1)
    assert order(data, 7, seed=1) == order(data, 30, seed=1)
    assert order(data, 7, seed=1) != order(data, 7, seed=2)
    assert order(data, 7, seed=1) != sorted(order(data, 7, seed=1))


def test_each_pass_has_an_order_of_its_own():
    data, generator = numbered(100), torch.Generator().manual_seed(0)
    passes = [[labels.tolist() for _, labels in shuffled_batches(data, 100, generator)] for _ in range(2)]
    assert passes[0] != passes[1]


def split(validation_size, gate_size):
    """Of 100 images."""
    sizes = {"validation_size": validation_size, "gate_size": gate_size}
    return split_training_images(numbered(100), DataParams(dataset="mnist", test_share=0.2, **sizes))


@pytest.mark.parametrize("gate_size", [0, 20])
def test_validation_is_the_last_images_and_the_gate_those_before(gate_size):
    parts = split(30, gate_size)
    assert parts.training.labels.tolist() == list(range(70 - gate_size))
    assert parts.gate.labels.tolist() == list(range(70 - gate_size, 70))
    assert parts.validation.labels.tolist() == list(range(70, 100))
    for part in parts:
        assert torch.equal(part.images[:, 0, 0, 0].long(), part.labels)


@pytest.mark.parametrize(
    ("validation_size", "gate_size", "message"),
    [
        (100, 0, "data.validation_size is 100; allowed is a whole number from 1 to 99, below the number of training"),
        (
            60,
            40,
            "data.gate_size is 40; allowed is a whole number from 0 to 39, below the 100 training images less",
        ),
    ],
)
def test_some_images_must_be_left_to_learn_from(validation_size, gate_size, message):
    assert len(split(60, 39).training.labels) == 1
    with pytest.raises(DataError, match=message):
        split(validation_size, gate_size)


def test_input_is_from_0_to_1():
    pixels = as_input(torch.tensor([0, 51, 255], dtype=torch.uint8).reshape(1, 1, 3))
    torch.testing.assert_close(pixels, torch.tensor([[[0.0, 0.2, 1.0]]]))
