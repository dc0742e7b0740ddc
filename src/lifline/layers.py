"""Hidden layers as the field writes them, `800-800` or `12C5-MP2-64C5-MP2`: what they are, and the shapes they give."""

import math
import re
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

MAX_LAYERS = 16
MAX_NEURONS = 65_536
MAX_FILTERS = 4_096
MAX_KERNEL = 31
MAX_POOL = 16
"""A place in its window fits into a byte."""
MAX_SHOWN = 60
OUTPUT = "output"
ALLOWED = (
    "parts joined by -: 1000 (that many neurons), 12C5 or 12C5p1 (filters, C, kernel, p and padding), and behind such "
    f"a convolution MP2 or AP2 (max or average pooling of 2 x 2; the number is the window's side, 1 to {MAX_POOL})"
)

_SEPARATOR_OF_OTHERS = re.compile(r"[\s,]")
_DENSE = re.compile(r"[1-9][0-9]*")
_CONVOLUTION = re.compile(r"([1-9][0-9]*)C([1-9][0-9]*)(?:p([1-9][0-9]*))?")
_POOLING = re.compile(r"([MA])P([1-9][0-9]*)")


class LayersError(ValueError):
    """Layers are not written as they should be, or do not fit an image."""


class Dense(NamedTuple):
    """Each neuron sees all that comes before."""

    num_neurons: int


class Convolution(NamedTuple):
    """Filters over squares of what comes before, in steps of one pixel."""

    num_filters: int
    kernel: int
    """Side of the square."""

    padding: int = 0
    """Zeros around the image, on each side."""


class Pooling(NamedTuple):
    """Squares that do not overlap become one value; what is left over at the edges is left out."""

    kind: Literal["max", "average"]
    size: int
    """Side of the square."""


class HiddenLayer(NamedTuple):
    """A projection, and pooling before its neurons fire where any follows."""

    projection: Dense | Convolution
    pooling: Pooling | None = None


class Shapes(NamedTuple):
    """What a layer gives: `(N,)` or `(C, H, W)`."""

    projected: tuple[int, ...]
    neurons: tuple[int, ...]
    """Behind the pooling."""


def parse_layers(text: str) -> list[HiddenLayer]:
    """Read hidden layers.

    Args:
        text: such as `1000`, `800-800`, `12C5-MP2-64C5-MP2` or `32C3p1-MP2-64C3p1-AP2-128`.

    Raises:
        LayersError: it is not written so; the message goes on where the name of what holds it ends.
    """
    layers: list[HiddenLayer] = []
    if not isinstance(text, str):
        raise LayersError(f"is {text!r}; allowed are {ALLOWED}")
    if _SEPARATOR_OF_OTHERS.search(text):
        raise LayersError(
            f"is {_shortened(text)}; allowed are parts joined by - alone, without blanks or commas, such as 800-800"
        )
    for place, part in enumerate(text.split("-"), 1):
        where = f"is {_shortened(text)}: {_shortened(part)}, part {place},"
        if found := _POOLING.fullmatch(part):
            layers = _with_pooling(layers, Pooling("max" if found[1] == "M" else "average", int(found[2])), where)
            continue
        if found := _CONVOLUTION.fullmatch(part):
            projection: Dense | Convolution = Convolution(int(found[1]), int(found[2]), int(found[3] or 0))
        elif _DENSE.fullmatch(part):
            projection = Dense(int(part))
        else:
            raise LayersError(f"{where} is no layer; allowed are {ALLOWED}")
        _check_size(projection, where)
        if isinstance(projection, Convolution) and layers and isinstance(layers[-1].projection, Dense):
            raise LayersError(f"{where} follows neurons without height and width; convolutions come first")
        layers.append(HiddenLayer(projection))
    if len(layers) > MAX_LAYERS:
        raise LayersError(f"has {len(layers)} layers; allowed are 1 to {MAX_LAYERS}")
    return layers


def shapes_of(text: str, input_shape: Sequence[int]) -> list[Shapes]:
    """Return what each of the hidden layers gives for an image.

    Raises:
        LayersError: as `parse_layers`, or they do not fit the image.
    """
    shape, shapes, told = tuple(input_shape), [], [_product(input_shape)]
    for layer in parse_layers(text):
        if isinstance(layer.projection, Convolution) and len(shape) != 3:  # noqa: PLR2004
            raise LayersError(f"is {_shortened(text)}; allowed for images of {_product(shape)} are neurons alone")
        made = []
        for part in (part for part in layer if part is not None):
            before, shape = shape, _given(part, shape)
            if min(shape) <= 0:
                told.append(f"{_written(part)}; allowed there {_fitting(part, before)}")
                raise LayersError(f"is {_shortened(text)}, which the image is too small for: {', then '.join(told)}")
            told.append(f"{_written(part)} {_product(shape)}")
            made.append(shape)
        shapes.append(Shapes(made[0], made[-1]))
    return shapes


def describe_network(text: str, input_shape: Sequence[int], num_classes: int) -> str:
    """A network in a word: `784-1000-10`, or `1x28x28-12C5-MP2-10`."""
    sees_pixels = isinstance(parse_layers(text)[0].projection, Dense)
    image = str(math.prod(input_shape)) if sees_pixels else "x".join(map(str, input_shape))
    return f"{image}-{text}-{num_classes}"


def layer_names(count: int) -> list[str]:
    """The names of a network's layers in figures and reports, the output's last."""
    return [*(f"hidden_{i}" for i in range(1, count)), OUTPUT]


def _with_pooling(layers: list[HiddenLayer], pooling: Pooling, where: str) -> list[HiddenLayer]:
    if pooling.size > MAX_POOL:
        raise LayersError(f"{where} pools more than {MAX_POOL} x {MAX_POOL}")
    if not layers or isinstance(layers[-1].projection, Dense) or layers[-1].pooling:
        raise LayersError(f"{where} follows no convolution; allowed is pooling behind one, once")
    return [*layers[:-1], layers[-1]._replace(pooling=pooling)]


def _check_size(projection: Dense | Convolution, where: str) -> None:
    if isinstance(projection, Dense):
        if projection.num_neurons > MAX_NEURONS:
            raise LayersError(f"{where} has too many neurons; allowed are 1 to {MAX_NEURONS}")
        return
    if projection.num_filters > MAX_FILTERS or projection.kernel > MAX_KERNEL:
        raise LayersError(
            f"{where} is too large; allowed are 1 to {MAX_FILTERS} filters and kernels of 1 to {MAX_KERNEL}"
        )
    if projection.padding >= projection.kernel:
        raise LayersError(f"{where} pads as much as its kernel; allowed is padding below {projection.kernel}")


def _given(part: Dense | Convolution | Pooling, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape that a part makes of another; a side is not above 0 where that one is too small."""
    if isinstance(part, Dense):
        return (part.num_neurons,)
    if isinstance(part, Pooling):
        return (shape[0], *(side // part.size for side in shape[1:]))
    grown = 2 * part.padding - part.kernel + 1
    return (part.num_filters, *(side + grown for side in shape[1:]))


def _fitting(part: Dense | Convolution | Pooling, shape: tuple[int, ...]) -> str:
    """What would fit in the place of a part that is too large."""
    if isinstance(part, Convolution):
        return f"are kernels of {part.padding + 1} to {min(shape[1:]) + 2 * part.padding}"
    return f"is pooling of 1 to {min(shape[1:])}"


def write_layers(layers: Iterable[HiddenLayer]) -> str:
    """Write layers as `parse_layers` reads them."""
    return "-".join(_written(part) for layer in layers for part in layer if part is not None)


def _written(part: Dense | Convolution | Pooling) -> str:
    if isinstance(part, Dense):
        return str(part.num_neurons)
    if isinstance(part, Pooling):
        return f"{part.kind[0].upper()}P{part.size}"
    return f"{part.num_filters}C{part.kernel}" + (f"p{part.padding}" if part.padding else "")


def _product(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))


def _shortened(text: str) -> str:
    return repr(text if len(text) <= MAX_SHOWN else f"{text[: MAX_SHOWN // 2]}...{text[-MAX_SHOWN // 2 :]}")
