"""Every knob of the pipeline as typed, frozen objects. The only reader of `params.yaml`."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, cast, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from lifline.choices import Decoding, LossName, SurrogateName
from lifline.errors import ParamsError

MAX_LAYERS = 16
Rate = Annotated[float, Field(ge=0, le=1)]


class Section(BaseModel):
    """A section of `params.yaml`: every key must be there, no other key may be."""

    model_config = ConfigDict(
        strict=True, frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True
    )


class DataParams(Section):
    """Which images train the network."""

    validation_size: Annotated[int, Field(ge=1, le=59_999)]
    """Training images held out for validation: the last ones of the 60,000."""


class NetworkParams(Section):
    """The network: its layers, its neurons, and how its output spikes become a class."""

    hidden: Annotated[list[Annotated[int, Field(ge=1, le=65_536)]], Field(min_length=1, max_length=MAX_LAYERS)]
    """Neurons in each hidden layer."""

    beta: Rate
    """Membrane decay per step: 0 forgets at once, 1 never."""

    threshold: Annotated[float, Field(gt=0, le=1_000)]
    """Membrane above which a neuron fires; subtracted from the membrane when it has."""

    num_steps: Annotated[int, Field(ge=1, le=1_000)]
    """Simulation steps per image."""

    surrogate: SurrogateName
    """What stands for the derivative of a spike in the backward pass."""

    spike_delay: Annotated[int, Field(ge=0, le=1)]
    """Steps by which a spike leaves late: 1 is the neuron that the tutorial writes by hand."""

    decoding: Decoding
    """How output spikes become a class."""


class TrainParams(Section):
    """How the network learns."""

    seed: Annotated[int, Field(ge=0, le=2**32 - 1)]
    """Seeds the weights, the order of the batches and what augmentation draws."""

    device: Literal["auto", "cpu", "cuda", "mps"]
    """Where to compute; auto takes CUDA, else MPS, else the CPU."""

    precision: Literal["fp32", "bf16"]
    """Of the input layer's matrix products; all else is computed in fp32."""

    epochs: Annotated[int, Field(ge=1, le=10_000)]
    """Passes over the training images."""

    batch_size: Annotated[int, Field(ge=1, le=60_000)]
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
    """How far each training image is distorted, anew each time it is shown; 0 is not at all."""

    rotation: Annotated[float, Field(ge=0, le=180)]
    """Degrees, at most, to either side."""

    scale: Annotated[float, Field(ge=0, lt=1)]
    """Share by which width and height each grow or shrink, at most."""

    shear: Annotated[float, Field(ge=0, le=1)]
    """Pixels of slant per pixel of height, at most, to either side."""

    shift: Annotated[float, Field(ge=0, le=28)]
    """Pixels, at most, in each direction."""

    elastic: Annotated[float, Field(ge=0, le=28)]
    """Elastic distortion: standard deviation of the displacements, in pixels, at the 5 by 5 nodes of a grid."""


class TuneParams(Section):
    """What `lifline tune` searches."""

    epochs: Annotated[int, Field(ge=1, le=10_000)]
    """Epochs of each trial, in place of train.epochs."""

    space: dict[str, Any]
    """Params by dotted name, each with low, high and maybe log: true, or with a list of choices."""


class ExportParams(Section):
    """When an exported model is good enough."""

    max_class_mismatches: Annotated[int, Field(ge=0, le=10_000)]
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
        values = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ParamsError(f"{path} is missing; stages run in the folder that holds it") from None
    except (YAMLError, ValueError, RecursionError) as error:  # ruamel lets the ValueError of a bad date or number pass
        raise ParamsError(f"{path} is not valid YAML: {_yaml_problem(error)}") from None
    if not isinstance(values, dict):
        raise ParamsError(f"{path} must hold the sections {_listed(Params.model_fields)}")
    return values


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
    if get_origin(kind) is dict:
        return "a mapping"
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
    problems = sorted(error.errors(), key=lambda problem: problem["type"] != "extra_forbidden")
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return _describe_problem(problems[0]) + more


def _describe_problem(problem: ErrorDetails) -> str:
    path = [str(part) for part in problem["loc"]]
    name = ".".join(path)
    fields = dict(all_fields())
    param = ".".join(path[:2])  # what follows is the place in a list
    if problem["type"] == "extra_forbidden":
        siblings = [key.removeprefix(f"{path[0]}.") for key in fields if key.startswith(f"{path[0]}.")]
        return f"{name} is unknown; allowed are {_listed(siblings or Params.model_fields)}"
    allowed = describe_field(fields[param]) if param in fields else "a section of keys and values"
    if problem["type"] == "missing":
        return f"{name} is missing; allowed is {allowed}"
    return f"{name} is {problem['input']!r}; allowed is {allowed}"


def _yaml_problem(error: Exception) -> str:
    if isinstance(error, MarkedYAMLError) and error.problem_mark is not None:
        return f"line {error.problem_mark.line + 1}: {error.problem}"
    return str(error)


def _listed(names: Any) -> str:
    return ", ".join(names)
