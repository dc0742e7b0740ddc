"""What an evaluation comes to: the figures of evaluation.json, as one object that writes and reads it."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt, ValidationError

from lifline.errors import ModelError
from lifline.system.files import sha256_of, write_bytes

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
    """An estimate of the arithmetic alone, in 32-bit floating point."""

    energy_with_memory_nanojoules_per_image: NonNegative
    """An estimate in integers, of arithmetic and memory, for all pixels (`lifline.evaluation.energy`)."""

    energy_of_quantised_network_nanojoules_per_image: NonNegative
    """The same of an ordinary network of the same layers, with as many bits for what spikes tell."""

    energy_with_zeros_skipped_nanojoules_per_image: NonNegative
    """As with memory, where pixels of 0 are left out."""

    energy_of_quantised_network_with_zeros_skipped_nanojoules_per_image: NonNegative
    """The same of the ordinary network, where its activations of 0 are left out, too."""

    silent_hidden_neurons: Share
    """Hidden neurons that fire for no image."""

    silent_neurons: dict[str, Share]
    """The same, by layer."""

    saturated_neurons: dict[str, Share]
    """By layer, neurons that fire at nearly every step of all images."""

    silent_outputs: Share
    """Images for which no output neuron fires."""

    ties: Share
    """Images for which several output neurons fire most, and equally often."""

    beta: dict[str, Share]
    """Membrane decay by layer, as it was set or learned."""


class Operations(_Frozen):
    """Counts and sparsities as NeuroBench's harness has them; operations are of an image."""

    footprint_bytes: PositiveInt
    connection_sparsity: Share
    """Share of the weights that are 0."""

    activation_sparsity: Share
    """Share of neurons and steps without a spike."""

    effective_macs: NonNegative
    """Multiply-accumulates with a pixel and a weight that are not 0."""

    effective_acs: NonNegative
    """Additions: weights that are not 0, each as often as a spike reaches it."""

    dense: PositiveInt
    """All of both, were nothing 0."""


class Nanojoules(_Frozen):
    """What a network takes for an image, in integers."""

    arithmetic: NonNegative
    memory: NonNegative

    @property
    def total(self) -> float:
        """Both."""
        return self.arithmetic + self.memory


class EnergyLines(_Frozen):
    """Estimates of an image's energy in nanojoules, of one machine."""

    float_arithmetic: NonNegative
    """Of arithmetic alone, in 32-bit floating point; the others are in integers."""

    spiking: Nanojoules
    quantised: Nanojoules
    """Of the ordinary network of the same layers."""


class EnergyEstimates(_Frozen):
    """Of a machine that computes with every pixel and activation, and of one that leaves out those that are 0."""

    all_values: EnergyLines
    zeros_skipped: EnergyLines


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

    decisions_sha256: dict[str, str]
    """Of the tables that tell what the model took each image for, by their names."""

    operations: Operations
    energy: EnergyEstimates
    by_num_steps: Annotated[tuple[Stop, ...], Field(min_length=1)]

    def as_metrics(self) -> dict[str, Any]:
        """Return the figures by which runs compare, as nested metrics; the report has more."""
        return self.model_dump(include=set(EvaluationMetrics.model_fields))

    def as_headline(self) -> dict[str, float]:
        """Return the few figures by which experiments are compared."""
        return {"test_accuracy": self.accuracy, "spikes_per_image": sum(self.spikes_per_image.values())}

    def write(self, path: Path) -> None:
        """Write the report as JSON; equal reports give equal bytes."""
        write_bytes(path, (self.model_dump_json(indent=2) + "\n").encode())

    def check_decisions(self, *tables: Path) -> None:
        """See that tables of decisions are those of this evaluation.

        Raises:
            ModelError: one is missing, or of another evaluation.
        """
        for table in tables:
            if not table.is_file():
                raise ModelError(f"{table} is missing; `dvc repro evaluate` makes it")
            if sha256_of(table) != self.decisions_sha256.get(table.name):
                raise ModelError(
                    f"{table} is of another evaluation than its report; `dvc repro --force --single-item evaluate` "
                    "makes both anew"
                )

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
                "`dvc repro --force --single-item evaluate` makes it anew"
            ) from None
        if report.model_sha256 != model_sha256:
            raise ModelError(
                f"{path} is of the model with SHA-256 {report.model_sha256}, not of {model_sha256}; "
                "`dvc repro --force --single-item evaluate` makes it anew"
            )
        return report
