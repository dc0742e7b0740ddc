"""Layers as the field writes them."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lifline.layers import (
    Convolution,
    Dense,
    HiddenLayer,
    LayersError,
    Pooling,
    describe_network,
    parse_layers,
    shapes_of,
)


def test_layers_are_read_as_they_are_written():
    assert parse_layers("800-700") == [HiddenLayer(Dense(800)), HiddenLayer(Dense(700))]
    assert parse_layers("12C5-MP2-64C3p1-AP3-9") == [
        HiddenLayer(Convolution(12, 5), Pooling("max", 2)),
        HiddenLayer(Convolution(64, 3, 1), Pooling("average", 3)),
        HiddenLayer(Dense(9)),
    ]


def test_tutorial_6_has_the_shapes_that_it_prints():
    shapes = shapes_of("12C5-MP2-64C5-MP2", (1, 28, 28))
    assert [(each.projected, each.neurons) for each in shapes] == [
        ((12, 24, 24), (12, 12, 12)),
        ((64, 8, 8), (64, 4, 4)),
    ]
    assert describe_network("12C5-MP2-64C5-MP2", (1, 28, 28), 10) == "1x28x28-12C5-MP2-64C5-MP2-10"
    assert describe_network("800-700", (1, 28, 28), 10) == "784-800-700-10"


convolutions = st.tuples(st.integers(1, 9), st.integers(1, 6)).flatmap(
    lambda sizes: st.integers(0, sizes[1] - 1).map(lambda padding: Convolution(*sizes, padding))
)
poolings = st.one_of(st.none(), st.builds(Pooling, st.sampled_from(["max", "average"]), st.integers(1, 4)))


def written(layer):
    if isinstance(layer.projection, Dense):
        return [str(layer.projection.num_neurons)]
    filters, kernel, padding = layer.projection
    pooling = [f"{'MP' if layer.pooling.kind == 'max' else 'AP'}{layer.pooling.size}"] if layer.pooling else []
    return [f"{filters}C{kernel}" + (f"p{padding}" if padding else ""), *pooling]


@given(
    st.lists(st.builds(HiddenLayer, convolutions, poolings), max_size=3),
    st.lists(st.builds(HiddenLayer, st.builds(Dense, st.integers(1, 99)), st.none()), max_size=3),
    st.tuples(st.integers(1, 3), st.integers(1, 20), st.integers(1, 20)),
)
def test_what_is_written_is_read_again_and_has_pytorchs_shapes(convolutional, dense, image):
    layers = convolutional + dense
    if not layers:
        return
    text = "-".join(part for layer in layers for part in written(layer))
    assert parse_layers(text) == layers
    values = torch.zeros(1, *image)
    try:
        for layer in convolutional:
            filters, kernel, padding = layer.projection
            values = torch.nn.Conv2d(values.shape[1], filters, kernel, padding=padding)(values)
            if layer.pooling:
                pool = torch.nn.MaxPool2d if layer.pooling.kind == "max" else torch.nn.AvgPool2d
                values = pool(layer.pooling.size)(values)
    except RuntimeError:  # the image is too small
        with pytest.raises(LayersError, match="which the image is too small for"):
            shapes_of(text, image)
        return
    shapes = [each.neurons for each in shapes_of(text, image)]
    if convolutional:
        assert shapes[len(convolutional) - 1] == tuple(values.shape[1:])
    assert shapes[len(convolutional) :] == [(layer.projection.num_neurons,) for layer in dense]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is '': '', part 1, is no layer; allowed are parts joined by -: 1000 (that many neurons), 12C5 or"),
        ("1000-", "is '1000-': '', part 2, is no layer"),
        ("0", "'0', part 1, is no layer"),
        ("-5", "'', part 1, is no layer"),
        ("12c5", "'12c5', part 1, is no layer"),
        ("12C5 - MP2", "is '12C5 - MP2'; allowed are parts joined by - alone, without blanks or commas, such as"),
        ("1000,500", "is '1000,500'; allowed are parts joined by - alone, without blanks or commas"),
        (" 1000", "without blanks"),
        ("5C3-MP", "AP2 (max or average pooling of 2 x 2; the number is the window's side, 1 to 16)"),
        ("12C5-MP2-64X5", "is '12C5-MP2-64X5': '64X5', part 3, is no layer"),
        ("MP2-9", "'MP2', part 1, follows no convolution; allowed is pooling behind one, once"),
        ("9-AP2", "'AP2', part 2, follows no convolution"),
        ("9C3-MP2-MP2", "'MP2', part 3, follows no convolution"),
        ("9C3-MP17", "'MP17', part 2, pools more than 16 x 16"),
        ("9-9C3", "'9C3', part 2, follows neurons without height and width; convolutions come first"),
        ("70000", "'70000', part 1, has too many neurons; allowed are 1 to 65536"),
        ("5000C3", "'5000C3', part 1, is too large; allowed are 1 to 4096 filters and kernels of 1 to 31"),
        ("5C33", "'5C33', part 1, is too large"),
        ("5C3p3", "'5C3p3', part 1, pads as much as its kernel; allowed is padding below 3"),
        ("-".join(["9"] * 17), "has 17 layers; allowed are 1 to 16"),
        ("x" * 500, "part 1, is no layer"),
        ("1" * 500, "has too many neurons"),
        ("1\u0660", "is no layer"),  # an Arabic digit
    ],
)
def test_what_is_not_written_so_is_told_with_its_place(text, message):
    with pytest.raises(LayersError) as raised:
        parse_layers(text)
    assert message in str(raised.value)
    assert len(str(raised.value)) < 450


def test_an_image_that_is_too_small_is_told_with_the_shapes_so_far():
    with pytest.raises(LayersError) as raised:
        shapes_of("12C5-MP2-64C5-MP2", (1, 8, 8))
    assert str(raised.value) == (
        "is '12C5-MP2-64C5-MP2', which the image is too small for: 1 x 8 x 8, then 12C5 12 x 4 x 4, then MP2 "
        "12 x 2 x 2, then 64C5; allowed there are kernels of 1 to 2"
    )


@pytest.mark.parametrize(
    ("text", "image", "message", "allowed"),
    [
        ("12C30-MP2", (1, 28, 28), "1 x 28 x 28, then 12C30; allowed there are kernels of 1 to 28", "12C28"),
        ("9C30p1", (1, 27, 99), "1 x 27 x 99, then 9C30p1; allowed there are kernels of 2 to 29", "9C29p1"),
        ("9C5-AP9-9", (3, 12, 30), "9C5 9 x 8 x 26, then AP9; allowed there is pooling of 1 to 8", "9C5-AP8-9"),
    ],
)
def test_what_would_fit_an_image_is_told(text, image, message, allowed):
    with pytest.raises(LayersError, match=message):
        shapes_of(text, image)
    assert min(shapes_of(allowed, image)[0].neurons) == 1
