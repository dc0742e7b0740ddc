"""Every knob of the pipeline as typed, frozen objects. The only reader of `params.yaml`."""

from collections.abc import Iterator, Mapping
from datetime import date
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, Union, cast, get_args, get_origin

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from lifline.choices import Coding, Decoding, FormatName, LossName, SurrogateName
from lifline.errors import ParamsError
from lifline.layers import ALLOWED, parse_layers
from lifline.params.document import MAX_BYTES, MAX_SCALAR, cut, parse_yaml, shortened

UNKNOWN = ("extra_forbidden", "invalid_key")
"""Pydantic's words for a key that should not be there, and for one that is no text."""

Rate = Annotated[float, Field(ge=0, le=1)]
Threshold = Annotated[float, Field(ge=0.001, le=1_000)]


def _as_text(value: Any) -> Any:
    """Layers that YAML takes for a number, `1000`; what it takes for a date, DVC cannot read."""
    if isinstance(value, date):
        raise ValueError(f"is {value}, which YAML takes for a date; write it in quotes")
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _as_layers(value: str) -> str:
    parse_layers(value)
    return value


FORMATS = f"a list of some of {', '.join(get_args(FormatName))}, each once, and onnx among them"
IN_WORDS: dict[Any, str] = {bool: "true, false", dict: "a mapping", list: FORMATS}
"""What params of these types may be."""

Layers = Annotated[str, BeforeValidator(_as_text), AfterValidator(_as_layers)]


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

    gate_size: Annotated[int, Field(ge=0, le=10_000_000)]
    """Training images before those, held out for `lifline champion` to judge by, not by the test images; 0: none."""


class NetworkParams(Section):
    """The network: its layers, its neurons, and how its output spikes become a class."""

    layers: Layers
    """Hidden layers as the field writes them: `1000`, `800-800`, `12C5-MP2-64C5-MP2`; the output has the classes."""

    beta: Rate | list[Rate]
    """Membrane decay per step: 0 forgets at once, 1 never; or a list, one a layer, the output's last."""

    learn_beta: bool
    """Whether each layer's decay is learned, from `beta` on."""

    threshold: Threshold | list[Threshold]
    """Membrane above which a neuron fires; subtracted from the membrane when it has; or a list, one a layer."""

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

    @property
    def num_layers(self) -> int:
        """Hidden layers and the output."""
        return len(parse_layers(self.layers)) + 1

    @property
    def betas(self) -> list[float]:
        """Of each layer, the output's last."""
        return self.beta if isinstance(self.beta, list) else [self.beta] * self.num_layers

    @property
    def thresholds(self) -> list[float]:
        """Of each layer, the output's last."""
        return self.threshold if isinstance(self.threshold, list) else [self.threshold] * self.num_layers


class TrainParams(Section):
    """How the network learns."""

    seed: Annotated[int, Field(ge=0, le=2**32 - 1)]
    """Seeds the weights, the order of the batches and what augmentation and rate coding draw."""

    device: Literal["auto", "cpu", "cuda", "mps"]
    """Where to compute; auto takes CUDA, else MPS, else the CPU."""

    precision: Literal["fp32", "bf16"]
    """Of the products that no kernel fuses with neurons; all else is computed in fp32."""

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

    centre_inputs: bool
    """Whether the first layer learns as if each pixel, or for a convolution each channel, had a mean of 0."""


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


def _as_formats(value: list[FormatName]) -> list[FormatName]:
    if "onnx" not in value or len(set(value)) < len(value):
        raise ValueError(f"is {value}; allowed is {FORMATS}")
    return value


class ExportParams(Section):
    """As what a model leaves, and when that is good enough."""

    formats: Annotated[list[FormatName], AfterValidator(_as_formats)]
    """As what the network is exported, each with its proof; what a format cannot carry is said, and not made."""

    max_class_mismatches: Annotated[int, Field(ge=0, le=10_000_000)]
    """Test images on which an ONNX or NIR file, run elsewhere, may decide otherwise than the network."""

    max_accuracy_loss: Rate
    """Share of the validation images, rounded up to whole ones, that an integer network may lose, or it is not made."""


class ChampionParams(Section):
    """When `lifline champion` moves to another version."""

    level: Annotated[float, Field(gt=0, lt=1)]
    """Of the test that tells a version better or worse than the champion: how often luck alone may do so."""

    cost: Literal["spikes", "size", "steps", "energy"]
    """What is to be saved: spikes an image, bytes of the ONNX file, simulation steps, or energy with memory."""

    min_saving: Annotated[float, Field(gt=0, lt=1)]
    """Share of the champion's cost by which a version must be cheaper to take its place without being better."""

    margin: Rate
    """Share of the images by which it may be worse then, at most."""


class Params(Section):
    """All of `params.yaml`."""

    data: DataParams
    network: NetworkParams
    train: TrainParams
    augmentation: AugmentationParams
    export: ExportParams
    champion: ChampionParams
    tune: TuneParams

    def flat(self) -> dict[str, int | float | str | list[float] | list[str]]:
        """The params of the pipeline under dotted names: `{"network.beta": 0.95, ...}`."""
        return {
            f"{section}.{name}": value
            for section, values in self.model_dump(exclude={"champion", "tune"}).items()
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
        return params_of(sections)


def read_params(path: Path = Path("params.yaml")) -> Params:
    """Read and validate the params.

    Raises:
        ParamsError: the file cannot be read, or a key is missing, unknown, of the wrong type or out of range.
    """
    return params_of(read_sections(path), f"{path}: ")


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
        raise ParamsError(f"{path} must hold the sections {', '.join(Params.model_fields)}")
    return values


def params_of(values: Any, where: str = "") -> Params:
    """Check sections of params, as a file holds them; `where` goes before messages.

    Raises:
        ParamsError: a key is missing, unknown, of the wrong type or out of range.
    """
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
    if train.centre_inputs and params.network.coding == "latency":
        raise ParamsError(
            f"{where}train.centre_inputs is true; allowed is false where network.coding is latency, whose spikes have "
            "other means than the pixels"
        )
    _check_layers(params.network, where)
    return params


def _check_layers(network: NetworkParams, where: str) -> None:
    """Check what one layer or another must have."""
    for name, values in (("beta", network.betas), ("threshold", network.thresholds)):
        if len(values) != network.num_layers:
            raise ParamsError(
                f"{where}network.{name} has {len(values)} values; allowed is one, or {network.num_layers}: one for "
                f"each hidden layer of {network.layers}, and the output's"
            )
    if network.learn_beta and not all(0 < beta < 1 for beta in network.betas):
        raise ParamsError(
            f"{where}network.beta is {network.beta}; allowed is above 0 and below 1 where network.learn_beta is true"
        )


def describe_field(field: FieldInfo) -> str:
    """What a param may be, in words: `a number from 0 to 1`, `atan, spike_operator, ...`."""
    kind: Any = field.annotation
    if get_origin(kind) is Literal:
        return ", ".join(get_args(kind))
    if (origin := get_origin(kind) or kind) in IN_WORDS:
        return IN_WORDS[origin]
    if kind is str:
        return ALLOWED if any(isinstance(each, AfterValidator) for each in field.metadata) else "a name or a path"
    if get_origin(kind) is Union:
        number, constraints = get_args(get_args(kind)[0])
        return f"{_describe_number(number, constraints.metadata)}, or a list of such, one a layer"
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
    by_param: dict[tuple[Any, ...], ErrorDetails] = {}
    for problem in error.errors():  # what is neither a number nor a list has one of each
        by_param.setdefault(problem["loc"][:2], problem)
    if ("network", "hidden") in by_param:
        by_param.pop(("network", "layers"), None)  # is what it is called now
    problems = sorted(by_param.values(), key=lambda problem: problem["type"] not in UNKNOWN)
    meant = {(*problem["loc"][:-1], _meant(problem)) for problem in problems if problem["type"] in UNKNOWN}
    left_missing = sum(problem["type"] == "missing" and problem["loc"] in meant for problem in problems)
    others = len(problems) - 1 - left_missing  # what a typo leaves missing is no other mistake
    more = f"; {others} more mistake{'s' * (others > 1)}" if others else ""
    return _describe_problem(problems[0]) + more


def _meant(unknown: ErrorDetails) -> str | None:
    """The section, or the param of its section, that is spelled much like an unknown one."""
    path = [str(part) for part in unknown["loc"]]
    return next(iter(get_close_matches(path[-1], _siblings(path[0]), n=1)), None)


def _siblings(section: str) -> list[str]:
    """The params of a section, or else, where there is no such section, the sections."""
    of_section = [name.removeprefix(f"{section}.") for name, _ in all_fields() if name.startswith(f"{section}.")]
    return of_section or list(Params.model_fields)


def _describe_problem(problem: ErrorDetails) -> str:
    path = [str(part) for part in problem["loc"]]
    fields = dict(all_fields())
    param = ".".join(path[:2])  # what follows is the kind of a list and the place in it
    is_list = param in fields and get_origin(fields[param].annotation) in (Union, list)
    name = param if is_list else ".".join(cut(part) if part.isprintable() else shortened(part) for part in path)
    if param == "network.hidden":
        value = _joined(problem["input"])
        return f"network.hidden is now network.layers, such as 1000 or 800-800; write layers: {value}"
    if problem["type"] in UNKNOWN:
        meant = f" (did you mean {near}?)" if (near := _meant(problem)) else ""
        return f"{name} is unknown{meant}; allowed are {', '.join(_siblings(path[0]))}"
    allowed = describe_field(fields[param]) if param in fields else "a section of keys and values"
    if problem["type"] == "value_error":
        return f"{name} {problem['ctx']['error']}"
    if problem["type"] == "missing":
        return f"{name} is missing; allowed is {allowed}"
    return f"{name} is {shortened(problem['input'])}; allowed is {allowed}"


def _joined(hidden: Any) -> str:
    return cut("-".join(map(str, hidden if isinstance(hidden, list) else [hidden])) or "1000")
