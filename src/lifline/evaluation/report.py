"""What an evaluation comes to: the figures of evaluation.json, as one object that writes and reads it."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt, ValidationError

from lifline.errors import ModelError
from lifline.system.files import write_bytes

MAX_BYTES = 1_000_000
Share = Annotated[float, Field(ge=0, le=1)]
NonNegative = Annotated[float, Field(ge=0)]


class _Frozen(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True, protected_namespaces=()
    )


class EvaluationMetrics(_Frozen):
    """How good a network is on a set of images, and how much it fires."""

    accuracy: Share
    """Of the configured decoding."""

    correct: NonNegativeInt
    total: PositiveInt
    accuracy_by_decoding: dict[str, Share]
    accuracy_by_class: Annotated[dict[str, Share], Field(min_length=1)]

    firing_rate: dict[str, NonNegative]
    """By layer, in spikes per neuron and step."""

    spikes_per_image: dict[str, NonNegative]
    """By layer."""

    synaptic_operations_per_image: NonNegative
    multiply_accumulates_per_image: NonNegativeInt
    energy_nanojoules_per_image: NonNegative

    silent_hidden_neurons: Share
    """Hidden neurons that fire for no image."""

    beta: dict[str, Share]
    """Membrane decay by layer, as it was set or learned."""


class Stop(_Frozen):
    """A network that is stopped after some of its steps: how good it is then, and what it has cost."""

    num_steps: PositiveInt
    accuracy: Share
    spikes_per_image: NonNegative
    synaptic_operations_per_image: NonNegative


class EvaluationReport(EvaluationMetrics):
    """The evaluation of one model on the test images."""

    model_sha256: str
    """Of the file of the model that was evaluated."""

    by_num_steps: Annotated[tuple[Stop, ...], Field(min_length=1)]

    def as_metrics(self) -> dict[str, Any]:
        """Return the figures as nested metrics."""
        return self.model_dump(exclude={"model_sha256", "by_num_steps"})

    def as_headline(self) -> dict[str, float]:
        """Return the few figures by which experiments are compared."""
        return {"test_accuracy": self.accuracy, "spikes_per_image": sum(self.spikes_per_image.values())}

    def write(self, path: Path) -> None:
        """Write the report as JSON; equal reports give equal bytes."""
        write_bytes(path, (self.model_dump_json(indent=2) + "\n").encode())

    @classmethod
    def read(cls, path: Path, model_sha256: str) -> "EvaluationReport":
        """Read the report on a model.

        Raises:
            ModelError: the file is missing, damaged, or on another model.
        """
        try:
            if path.stat().st_size > MAX_BYTES:
                raise ModelError(f"{path} has {path.stat().st_size:,} bytes; allowed are {MAX_BYTES:,}")
            report = cls.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            raise ModelError(f"{path} is missing; `dvc repro evaluate` makes it") from None
        except ValidationError as error:
            place = ".".join(map(str, error.errors()[0]["loc"])) or "its JSON"
            raise ModelError(
                f"{path} is damaged at {place}: it does not hold what an evaluation gives; "
                "`dvc repro -f evaluate` makes it anew"
            ) from None
        if report.model_sha256 != model_sha256:
            raise ModelError(
                f"{path} is of the model with SHA-256 {report.model_sha256}, not of {model_sha256}; "
                "`dvc repro -f evaluate` makes it anew"
            )
        return report
