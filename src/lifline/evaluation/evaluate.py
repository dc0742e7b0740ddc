"""How good a network is, and how much it fires."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, get_args

import torch
from torch import Tensor

from lifline.choices import Decoding
from lifline.data.images import LabelledImages
from lifline.evaluation.energy import Energy, float_arithmetic, quantised_energy, spiking_energy
from lifline.evaluation.operations import (
    Activity,
    LayerWork,
    Synapses,
    count_operations,
    footprint,
    synapses_of,
    work_of,
)
from lifline.evaluation.report import (
    EnergyEstimates,
    EnergyLines,
    EvaluationMetrics,
    EvaluationReport,
    Nanojoules,
    Operations,
    Stop,
)
from lifline.layers import OUTPUT, layer_names
from lifline.models.model import Model, run_over
from lifline.snn.decoding import decode
from lifline.snn.firing import Firing, firing_of

DECISION_COLUMNS = ["actual", "predicted"]
"""Of the tables of `Evaluation.class_pairs`."""

NUM_BINS = 50
MAX_STOPS = 10
"""Each stop costs a look at all images."""


class Mistake(NamedTuple):
    """An image that a network takes for another class."""

    image: Tensor
    """uint8 `[C, H, W]`."""

    label: int
    decided: int
    confidence: float
    """The share of the output spikes that the decided class has, 0 to 1."""


class Evaluation(NamedTuple):
    """What a network does with a set of images."""

    decoding: Decoding
    """The configured one."""

    labels: Tensor
    """int64, one for each image."""

    predictions: dict[Decoding, Tensor]
    """The decided classes under each decoding, int64, one for each image."""

    class_names: tuple[str, ...]
    is_coded: bool
    """Whether images were coded as spikes; else each was shown as it is."""

    synapses: list[Synapses]
    """Of each layer."""

    footprint: int
    """Bytes of the network."""

    activities: list[Activity]
    """Of the pixels, or of the spikes that they were coded as, and of each layer."""

    confidences: Tensor
    """The share of the output spikes that the decided class has, 0 to 1, one for each image."""

    num_steps: int

    beta: dict[str, float]
    """Membrane decay by layer."""

    @property
    def spikes(self) -> dict[str, Tensor]:
        """By layer, `hidden_1` to `output`: each neuron's spikes over all images and steps, int64 `[N]`."""
        return {name: activity.counts for name, activity in zip(self.beta, self.activities[1:], strict=True)}

    firing: Firing

    @property
    def decided(self) -> Tensor:
        """The classes under the configured decoding, int64, one for each image."""
        return self.predictions[self.decoding]

    def accuracy(self, decoding: Decoding) -> float:
        """The share of images that get their label under a decoding."""
        return self._num_correct(decoding) / len(self.labels)

    def as_metrics(self) -> EvaluationMetrics:
        """Return the figures, rates in spikes per neuron and step."""
        per_image, energy = self._spikes_per_image(), self.energy()
        hidden = torch.cat([count for layer, count in self.spikes.items() if layer != OUTPUT])
        return EvaluationMetrics(
            accuracy=self.accuracy(self.decoding),
            correct=self._num_correct(self.decoding),
            total=len(self.labels),
            accuracy_by_decoding={decoding: self.accuracy(decoding) for decoding in self.predictions},
            accuracy_by_class=self._accuracy_by_class(),
            firing_rate={
                layer: per_image[layer] / (len(count) * self.num_steps) for layer, count in self.spikes.items()
            },
            spikes_per_image=per_image,
            synaptic_operations_per_image=self._synaptic_operations_per_image(),
            multiply_accumulates_per_image=self._multiply_accumulates_per_image(),
            energy_nanojoules_per_image=energy.all_values.float_arithmetic,
            energy_with_memory_nanojoules_per_image=energy.all_values.spiking.total,
            energy_of_quantised_network_nanojoules_per_image=energy.all_values.quantised.total,
            energy_with_zeros_skipped_nanojoules_per_image=energy.zeros_skipped.spiking.total,
            energy_of_quantised_network_with_zeros_skipped_nanojoules_per_image=energy.zeros_skipped.quantised.total,
            silent_hidden_neurons=(hidden == 0).double().mean().item(),
            silent_neurons=self.firing.silent,
            saturated_neurons=self.firing.saturated,
            silent_outputs=self.firing.silent_outputs,
            ties=self.firing.ties,
            beta=self.beta,
        )

    def as_stop(self) -> Stop:
        """Return accuracy and what it cost, for a comparison by number of steps."""
        return Stop(
            num_steps=self.num_steps,
            accuracy=self.accuracy(self.decoding),
            spikes_per_image=sum(self._spikes_per_image().values()),
            synaptic_operations_per_image=self._synaptic_operations_per_image(),
        )

    def operations(self) -> Operations:
        """Return counts and sparsities in NeuroBench's terms."""
        return count_operations(
            self.synapses, self.activities, len(self.labels), self.num_steps, not self.is_coded, self.footprint
        )

    def energy(self) -> EnergyEstimates:
        """Return estimates of what an image takes."""
        return EnergyEstimates(all_values=self._energy_lines(False), zeros_skipped=self._energy_lines(True))

    def class_pairs(self) -> Iterator[tuple[str, str]]:
        """The names of the class that each image has, and of the one that was decided."""
        for label, decided in zip(self.labels.tolist(), self.decided.tolist(), strict=True):
            yield self.class_names[label], self.class_names[decided]

    def firing_rate_histogram(self) -> Iterator[dict[str, float]]:
        """Shares of each layer's neurons by their firing rate, in bins of spikes per step, named by their middle."""
        looks = len(self.labels) * self.num_steps
        shares = {
            layer: torch.histc(counts.double() / looks, NUM_BINS, 0, 1) / len(counts)
            for layer, counts in self.spikes.items()
        }
        for i in range(NUM_BINS):
            yield {"firing_rate": (i + 0.5) / NUM_BINS} | {layer: share[i].item() for layer, share in shares.items()}

    def _accuracy_by_class(self) -> dict[str, float]:
        is_right = (self.decided == self.labels).double()
        of_class = {name: is_right[self.labels == label] for label, name in enumerate(self.class_names)}
        return {name: right.mean().item() for name, right in of_class.items() if len(right)}

    def _multiply_accumulates_per_image(self) -> int:
        """Of the first layer where it sees a constant image, which is computed once; none for what pads it."""
        return 0 if self.is_coded else int(self.synapses[0].fan_out.sum())

    def _spikes_per_image(self) -> dict[str, float]:
        return {layer: count.sum().item() / len(self.labels) for layer, count in self.spikes.items()}

    def _synaptic_operations_per_image(self) -> float:
        """Spikes times fan-out; output spikes reach nothing."""
        return math.fsum(work.effective for work in self._work() if not work.sees_image)

    def _work(self) -> list[LayerWork]:
        return work_of(self.synapses, self.activities[:-1], len(self.labels), not self.is_coded)

    def _energy_lines(self, skips_zeros: bool) -> EnergyLines:
        work = self._work()
        num_products = work[0].effective if skips_zeros else self._multiply_accumulates_per_image()
        return EnergyLines(
            float_arithmetic=float_arithmetic(
                0 if self.is_coded else num_products, self._synaptic_operations_per_image()
            )
            / 1000,
            spiking=_nanojoules(spiking_energy(work, self.num_steps, skips_zeros)),
            quantised=_nanojoules(quantised_energy(work, self.num_steps, skips_zeros)),
        )

    def _num_correct(self, decoding: Decoding) -> int:
        return int((self.predictions[decoding] == self.labels).sum())


def evaluate(model: Model, data: LabelledImages, num_steps: int | None = None) -> Evaluation:
    """Show a network every image once, for `num_steps` or else its own, and note what it decides and how it fires."""
    network = model.network
    predictions: dict[Decoding, list[Tensor]] = {how: [] for how in get_args(Decoding)}
    output_counts, totals = [], []
    is_coded = network.coding != "constant"
    for look in run_over(network, data, num_steps):
        record = look.record
        for how, decided_so_far in predictions.items():
            decided_so_far.append(decode(record, how))
        output_counts.append(record.spikes.sum(0))
        inputs = look.inputs.count_nonzero(0) if is_coded else look.inputs != 0
        totals.append([_activity(count) for count in (inputs.flatten(1), *record.hidden_counts, output_counts[-1])])
    decided = torch.cat(predictions[model.params.decoding])
    activities = [
        Activity(*(torch.stack(each).sum(0).cpu() for each in zip(*batches, strict=True)))
        for batches in zip(*totals, strict=True)
    ]
    names = layer_names(len(network.layers))
    spikes = {name: activity.counts for name, activity in zip(names, activities[1:], strict=True)}
    counts_of_images = torch.cat(output_counts)
    return Evaluation(
        decoding=model.params.decoding,
        labels=data.labels.cpu(),
        predictions={how: torch.cat(batches).cpu() for how, batches in predictions.items()},
        class_names=model.dataset.class_names,
        is_coded=is_coded,
        synapses=[synapses_of(layer) for layer in network.layers],
        footprint=footprint(network),
        activities=activities,
        confidences=_shares(counts_of_images, decided).cpu(),
        num_steps=num_steps or network.num_steps,
        beta={name: layer.decay() for name, layer in zip(names, network.layers, strict=True)},
        firing=firing_of(spikes, counts_of_images, num_steps or network.num_steps),
    )


def evaluate_by_num_steps(model: Model, data: LabelledImages) -> list[Evaluation]:
    """Evaluate a network stopped after each of its steps, or after `MAX_STOPS` of them; the last is the whole."""
    whole = model.network.num_steps
    stops = sorted({math.ceil(whole * i / MAX_STOPS) for i in range(1, MAX_STOPS + 1)})
    return [evaluate(model, data, num_steps) for num_steps in stops]


def report_on(
    evaluations: Sequence[Evaluation], model_sha256: str, decisions_sha256: Mapping[str, str]
) -> EvaluationReport:
    """Put evaluations by number of steps, the last of them whole, into a report on their model and its decisions."""
    return EvaluationReport(
        **evaluations[-1].as_metrics().model_dump(),
        model_sha256=model_sha256,
        decisions_sha256=dict(decisions_sha256),
        operations=evaluations[-1].operations(),
        energy=evaluations[-1].energy(),
        by_num_steps=tuple(evaluation.as_stop() for evaluation in evaluations),
    )


def mistakes(data: LabelledImages, evaluation: Evaluation) -> list[Mistake]:
    """Return the images that an evaluation of this data got wrong, the most confident mistake first."""
    wrong = (evaluation.decided != evaluation.labels).nonzero().flatten()
    figures = (evaluation.labels[wrong], evaluation.decided[wrong], evaluation.confidences[wrong])
    rows = zip(data.images[wrong.to(data.images.device)].cpu(), *(each.tolist() for each in figures), strict=True)
    return sorted((Mistake(*row) for row in rows), key=lambda mistake: -mistake.confidence)


def _activity(counts: Tensor) -> Activity:
    """Sum up how often each of a batch's inputs or neurons `[B, N]` was not 0."""
    return Activity(counts.sum(0).long(), counts.count_nonzero(0))


def _nanojoules(energy: Energy) -> Nanojoules:
    return Nanojoules(arithmetic=energy.arithmetic / 1000, memory=energy.memory / 1000)


def _shares(counts: Tensor, decided: Tensor) -> Tensor:
    """Return the share of an image's output spikes `[B, C]` that the decided class has, `[B]`."""
    return counts.gather(1, decided[:, None]).flatten() / counts.sum(1).clamp(min=1)
