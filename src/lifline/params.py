"""Every knob of the pipeline as typed, frozen objects. The only reader of `params.yaml`."""

import reprlib
import warnings
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, Literal, cast, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError, YAMLWarning
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode

from lifline.choices import Coding, Decoding, LossName, SurrogateName
from lifline.errors import ParamsError

MAX_LAYERS = 16
MAX_BYTES = 100_000
"""Of a YAML file; these limits keep what is no params.yaml from taking minutes and gigabytes."""
MAX_VALUES = 2_000
MAX_LEVELS = 20
MAX_SCALAR = 1_000
MAX_TEXT = 200

UNKNOWN = ("extra_forbidden", "invalid_key")
"""Pydantic's words for a key that should not be there, and for one that is no text."""

_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxlong = _REPR.maxother = 60
Rate = Annotated[float, Field(ge=0, le=1)]


class Section(BaseModel):
    """A section of `params.yaml`: every key must be there, no other key may be."""

    model_config = ConfigDict(
        strict=True, frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True
    )


class DataParams(Section):
    """Which images train the network."""

    dataset: Annotated[str, Field(min_length=1, max_length=MAX_SCALAR)]
    """A folder of `data/`, by name or path: of a published data set, or of one's own; or an .npz file."""

    test_share: Annotated[float, Field(gt=0, lt=1)]
    """Share of one's own images that are split off to test on, where they have no test part."""

    validation_size: Annotated[int, Field(ge=1, le=10_000_000)]
    """Training images held out for validation: the last ones."""


class NetworkParams(Section):
    """The network: its layers, its neurons, and how its output spikes become a class."""

    hidden: Annotated[list[Annotated[int, Field(ge=1, le=65_536)]], Field(min_length=1, max_length=MAX_LAYERS)]
    """Neurons in each hidden layer."""

    beta: Rate
    """Membrane decay per step: 0 forgets at once, 1 never."""

    threshold: Annotated[float, Field(ge=0.001, le=1_000)]
    """Membrane above which a neuron fires; subtracted from the membrane when it has."""

    num_steps: Annotated[int, Field(ge=1, le=1_000)]
    """Simulation steps per image."""

    surrogate: SurrogateName
    """What stands for the derivative of a spike in the backward pass."""

    spike_delay: Annotated[int, Field(ge=0, le=1)]
    """Steps by which a spike leaves late: 1 is the neuron that the tutorial writes by hand."""

    coding: Coding
    """How an image enters: as it is at every step, or as spikes, sooner (latency) or more (rate) where brighter."""

    decoding: Decoding
    """How output spikes become a class."""


class TrainParams(Section):
    """How the network learns."""

    seed: Annotated[int, Field(ge=0, le=2**32 - 1)]
    """Seeds the weights, the order of the batches and what augmentation and rate coding draw."""

    device: Literal["auto", "cpu", "cuda", "mps"]
    """Where to compute; auto takes CUDA, else MPS, else the CPU."""

    precision: Literal["fp32", "bf16"]
    """Of the input layer's matrix products; all else is computed in fp32."""

    epochs: Annotated[int, Field(ge=1, le=10_000)]
    """Passes over the training images."""

    batch_size: Annotated[int, Field(ge=1, le=1_000_000)]
    """Images per optimizer step."""

    learning_rate: Annotated[float, Field(gt=0, le=1)]
    """Of Adam (betas 0.9 and 0.999), at its highest."""

    warmup_epochs: Annotated[float, Field(ge=0, le=10_000)]
    """Epochs in which the learning rate rises to its highest."""

    schedule: Literal["constant", "cosine"]
    """The learning rate after that: constant, or falling along a cosine to 0 at the end."""

    loss: LossName
    """What is minimised."""

    correct_rate: Rate
    """Target firing rate of the right class; used by rate_mse alone."""

    incorrect_rate: Rate
    """Target firing rate of every other class; used by rate_mse alone."""

    spike_penalty: Annotated[float, Field(ge=0, le=1_000)]
    """What a mean hidden firing rate of 1 adds to the loss: fewer spikes, for some accuracy."""


class AugmentationParams(Section):
    """How far each training image is distorted, anew each time it is shown; 0 and false are not at all."""

    rotation: Annotated[float, Field(ge=0, le=180)]
    """Degrees, at most, to either side."""

    scale: Annotated[float, Field(ge=0, lt=1)]
    """Share by which width and height each grow or shrink, at most."""

    shear: Annotated[float, Field(ge=0, le=1)]
    """Pixels of slant per pixel of height, at most, to either side."""

    shift: Annotated[float, Field(ge=0, le=512)]
    """Pixels, at most, in each direction."""

    elastic: Annotated[float, Field(ge=0, le=512)]
    """Elastic distortion: standard deviation of the displacements, in pixels, at the 5 by 5 nodes of a grid."""

    flip: bool
    """Whether each image is mirrored left-right, half of the time."""


class TuneParams(Section):
    """What `lifline tune` searches."""

    epochs: Annotated[int, Field(ge=1, le=10_000)]
    """Epochs of each trial, in place of train.epochs."""

    space: dict[str, Any]
    """Params by dotted name, each with low, high and maybe log: true, or with a list of choices."""


class ExportParams(Section):
    """When an exported model is good enough."""

    max_class_mismatches: Annotated[int, Field(ge=0, le=10_000_000)]
    """Test images on which ONNX Runtime may decide otherwise than the network."""


class Params(Section):
    """All of `params.yaml`."""

    data: DataParams
    network: NetworkParams
    train: TrainParams
    augmentation: AugmentationParams
    export: ExportParams
    tune: TuneParams

    def flat(self) -> dict[str, int | float | str | list[int]]:
        """The params of the pipeline under dotted names: `{"network.beta": 0.95, ...}`."""
        return {
            f"{section}.{name}": value
            for section, values in self.model_dump(exclude={"tune"}).items()
            for name, value in values.items()
        }

    def with_values(self, values: Mapping[str, Any]) -> "Params":
        """These params with some replaced, by dotted name.

        Raises:
            ParamsError: a name is unknown, or a value not allowed.
        """
        sections = self.model_dump()
        for dotted, value in values.items():
            section, _, name = dotted.partition(".")
            sections.setdefault(section, {})[name] = value
        return _validated(sections, "")


def read_params(path: Path = Path("params.yaml")) -> Params:
    """Read and validate the params.

    Raises:
        ParamsError: the file cannot be read, or a key is missing, unknown, of the wrong type or out of range.
    """
    return _validated(read_sections(path), f"{path}: ")


def read_sections(path: Path) -> dict[str, Any]:
    """Read a file with sections of params, which are not checked.

    Raises:
        ParamsError: it cannot be read, is not YAML, or holds no sections.
    """
    try:
        with path.open("rb") as file:
            values = parse_yaml(file.read(MAX_BYTES + 1))
    except FileNotFoundError:
        raise ParamsError(f"{path} is missing; stages run in the folder that holds it") from None
    except OSError as error:
        raise ParamsError(f"{path} cannot be read: {error.strerror}") from None
    except ParamsError as error:
        raise ParamsError(f"{path} {error}") from None
    if not isinstance(values, dict):
        raise ParamsError(f"{path} must hold the sections {_listed(Params.model_fields)}")
    return values


def parse_yaml(content: bytes) -> Any:
    """The values of a YAML document, in bounded time and memory.

    Raises:
        ParamsError: it is not valid, too long, nested too deeply, or its aliases make too much of it. The message
            goes on where the document's name ends: `is not valid YAML: ...`.
    """
    if len(content) > MAX_BYTES:
        raise ParamsError(f"has more than {MAX_BYTES} bytes")
    yaml = YAML(typ="safe", pure=True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", YAMLWarning)
            document = yaml.compose(content.decode())
            if document is None:
                return None
            _extent(document, {})
            return yaml.constructor.construct_document(document)
    except RecursionError:
        raise ParamsError(f"is nested deeper than {MAX_LEVELS} levels") from None
    except (YAMLError, ValueError, LookupError) as error:  # of a date, a number, a truth value that is none
        raise ParamsError(f"is not valid YAML: {_yaml_problem(error)}") from None


def _extent(node: Node, known: dict[Node, tuple[int, int] | None]) -> tuple[int, int]:
    """Values and levels of a node with its aliases written out; `known` has those of others, None while in them."""
    if isinstance(node, ScalarNode):
        if len(node.value) > MAX_SCALAR:
            raise ParamsError(f"has a value of {len(node.value)} characters in {_line(node)}; allowed are {MAX_SCALAR}")
        return 1, 0
    if node not in known:
        known[node] = None
        children = chain(*node.value) if isinstance(node, MappingNode) else node.value
        extents = [(1, 0), *(_extent(child, known) for child in children)]
        known[node] = sum(values for values, _ in extents), 1 + max(levels for _, levels in extents)
    extent = known[node]
    if extent is None:
        raise ParamsError(f"holds itself in {_line(node)}")
    values, levels = extent
    if values > MAX_VALUES:
        raise ParamsError(f"holds more than {MAX_VALUES} values in {_line(node)} with its aliases written out")
    if levels > MAX_LEVELS:
        raise ParamsError(f"is nested deeper than {MAX_LEVELS} levels in {_line(node)}")
    return extent


def _line(node: Node) -> str:
    return f"line {node.start_mark.line + 1}"


def shortened(value: Any) -> str:
    """A value as messages show it: what is long is cut in the middle."""
    return _REPR.repr(value)


def _validated(values: Mapping[str, Any], where: str) -> Params:
    try:
        params = Params.model_validate(values)
    except ValidationError as error:
        raise ParamsError(f"{where}{_first_of(error)}") from None
    train = params.train
    if train.warmup_epochs > train.epochs:
        raise ParamsError(
            f"{where}train.warmup_epochs is {train.warmup_epochs}; allowed is a number from 0 to train.epochs, "
            f"{train.epochs}"
        )
    return params


def describe_field(field: FieldInfo) -> str:
    """What a param may be, in words: `a number from 0 to 1`, `atan, spike_operator, ...`."""
    kind: Any = field.annotation
    if get_origin(kind) is Literal:
        return ", ".join(get_args(kind))
    if kind is bool:
        return "true, false"
    if get_origin(kind) is dict:
        return "a mapping"
    if kind is str:
        return "a name or a path"
    if get_origin(kind) is list:
        element, constraints = get_args(get_args(kind)[0])
        return f"a list of 1 to {MAX_LAYERS}, like [1000], each {_describe_number(element, constraints.metadata)}"
    return _describe_number(kind, field.metadata)


def all_fields() -> Iterator[tuple[str, FieldInfo]]:
    """Every param's dotted name with its field."""
    for section, section_field in Params.model_fields.items():
        for name, field in cast(type[Section], section_field.annotation).model_fields.items():
            yield f"{section}.{name}", field


def _describe_number(kind: type, constraints: list[Any]) -> str:
    words = {"gt": "above", "ge": "from", "lt": "to below", "le": "to"}
    bounds = ((word, getattr(entry, name, None)) for name, word in words.items() for entry in constraints)
    limits = [f"{word} {bound}" for word, bound in bounds if bound is not None]
    return " ".join(["a whole number" if kind is int else "a number", *limits])


def _first_of(error: ValidationError) -> str:
    problems = sorted(error.errors(), key=lambda problem: problem["type"] not in UNKNOWN)
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return _describe_problem(problems[0]) + more


def _describe_problem(problem: ErrorDetails) -> str:
    path = [str(part) for part in problem["loc"]]
    name = ".".join(_cut(part) if part.isprintable() else shortened(part) for part in path)
    fields = dict(all_fields())
    param = ".".join(path[:2])  # what follows is the place in a list
    if problem["type"] in UNKNOWN:
        siblings = [key.removeprefix(f"{path[0]}.") for key in fields if key.startswith(f"{path[0]}.")]
        return f"{name} is unknown; allowed are {_listed(siblings or Params.model_fields)}"
    allowed = describe_field(fields[param]) if param in fields else "a section of keys and values"
    if problem["type"] == "missing":
        return f"{name} is missing; allowed is {allowed}"
    return f"{name} is {shortened(problem['input'])}; allowed is {allowed}"


def _yaml_problem(error: Exception) -> str:
    if isinstance(error, MarkedYAMLError) and error.problem_mark is not None:
        reason = f"line {error.problem_mark.line + 1}: {error.problem}"
    elif isinstance(error, LookupError):
        reason = f"a value is not what its tag says: {error}"
    else:
        reason = str(error)
    return _cut(" ".join(reason.split()))


def _cut(text: str) -> str:
    return text if len(text) <= MAX_TEXT else f"{text[: MAX_TEXT // 2]}...{text[-MAX_TEXT // 2 :]}"


def _listed(names: Any) -> str:
    return ", ".join(names)
