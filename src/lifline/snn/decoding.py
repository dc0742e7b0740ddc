"""A class is decoded from the output neurons' spikes and membranes."""

from collections.abc import Callable

import torch
from torch import Tensor

from lifline.choices import Decoding
from lifline.snn.network import Record


def decode(record: Record, how: Decoding) -> Tensor:
    """Decide on a class for each image.

    Args:
        record: output spikes and membrane, each `[T, B, C]`.
        how: a key of `DECODINGS`: `rate` takes the class with most spikes, the lowest where several tie;
            `rate_membrane` the same, where a tie goes to the larger membrane summed over steps; `latency` the
            class that fires first, ties again by membrane; `membrane` the largest membrane summed over steps.

    Returns:
        Classes, int64 `[B]`.

    Raises:
        ValueError: there is no such decoding.
    """
    if how not in DECODINGS:
        raise ValueError(f"decoding is {how!r}; allowed are {', '.join(DECODINGS)}")
    return DECODINGS[how](record)


def _by_rate(record: Record) -> Tensor:
    return record.spikes.sum(0).argmax(1)


def _by_rate_then_membrane(record: Record) -> Tensor:
    return _best_by_membrane(record.spikes.sum(0), record)


def _by_latency(record: Record) -> Tensor:
    first_spike = record.spikes.argmax(0)
    never = len(record.spikes)
    return _best_by_membrane(-torch.where(record.spikes.amax(0) > 0, first_spike, never), record)


def _by_membrane(record: Record) -> Tensor:
    return record.membrane.sum(0).argmax(1)


def _best_by_membrane(score: Tensor, record: Record) -> Tensor:
    """Take the class with the highest score `[B, C]`, of several the one with the largest summed membrane."""
    best = score == score.amax(1, keepdim=True)
    return torch.where(best, record.membrane.sum(0), -torch.inf).argmax(1)


DECODINGS: dict[Decoding, Callable[[Record], Tensor]] = {
    "rate": _by_rate,
    "rate_membrane": _by_rate_then_membrane,
    "latency": _by_latency,
    "membrane": _by_membrane,
}
