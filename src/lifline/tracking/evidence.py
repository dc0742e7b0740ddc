"""Whether one network is better than another: their decisions on the same images, compared in pairs."""

import csv
import io
import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import NamedTuple

DECISIONS = {"test images": "predictions.csv", "gate images": "gate.csv"}
"""The files, of a run and of a version, of what a network took each image for."""

SMALLEST_P = "1e-300"
"""Of a p that is too small for a float, no more is told."""

POWER = 0.8
"""With which a difference is to be found by as many images as `Evidence.images_needed`."""


class Evidence(NamedTuple):
    """How often each of two networks alone is right on the same images."""

    num_images: int

    num_gained: int
    """Images on which the second alone is right."""

    num_lost: int
    """And on which the first alone is."""

    @property
    def difference(self) -> float:
        """Accuracy of the second less that of the first, from -1 to 1."""
        return (self.num_gained - self.num_lost) / self.num_images

    @property
    def p_value(self) -> float:
        """Two-sided, by the exact test of McNemar (1947): among the images that tell them apart, each wins half."""
        from scipy.stats import binomtest  # noqa: PLC0415 - half a second, which reading a model does without

        return float(binomtest(self.num_gained, self._num_telling).pvalue) if self._num_telling else 1.0

    def interval(self, level: float) -> tuple[float, float]:
        """Return the difference's interval, Wald's, with half an image more in each cell (Agresti and Min 2005)."""
        gained, lost, total = self.num_gained + 0.5, self.num_lost + 0.5, self.num_images + 2
        middle = (gained - lost) / total
        half = NormalDist().inv_cdf(1 - level / 2) * math.sqrt(((gained + lost) / total - middle**2) / total)
        return middle - half, middle + half

    def images_needed(self, level: float) -> int | None:
        """How many images would tell, were the difference the true one; None where there is none (Miettinen 1968)."""
        if not self.difference:
            return None
        telling = self._num_telling / self.num_images
        of_level, of_power = NormalDist().inv_cdf(1 - level / 2), NormalDist().inv_cdf(POWER)
        spread = of_level * math.sqrt(telling) + of_power * math.sqrt(telling - self.difference**2)
        return math.ceil((spread / self.difference) ** 2)

    def describe(self, level: float) -> str:
        """The comparison in a few words, in points of accuracy."""
        low, high = self.interval(level)
        interval = f"{100 * (1 - level):.4g}% interval {100 * low:+.2f} to {100 * high:+.2f}"
        p_value = self.p_value
        told = f"p {p_value:.2g}" if p_value else f"p < {SMALLEST_P}"
        gained = "1 image" if self.num_gained == 1 else f"{self.num_gained:,} images"
        return (
            f"{100 * self.difference:+.2f} points ({interval}, {told}, exact McNemar: "
            f"{gained} gained, {self.num_lost:,} lost, of {self.num_images:,})"
        )

    @property
    def _num_telling(self) -> int:
        return self.num_gained + self.num_lost


class Decision(NamedTuple):
    """On an image: the class that is right, and the one that a network took."""

    actual: str
    predicted: str


def read_decisions(content: bytes) -> list[Decision]:
    """Read a table of decisions, as `evaluate` writes them; the images are in the order of the data set.

    Raises:
        ValueError: it is another table.
    """
    rows = list(csv.reader(io.StringIO(content.decode())))
    if rows[:1] != [list(Decision._fields)] or any(len(row) != len(Decision._fields) for row in rows):
        raise ValueError("it is no table of decisions")
    return [Decision(*row) for row in rows[1:]]


def compare_decisions(first: Sequence[Decision], second: Sequence[Decision]) -> Evidence | None:
    """Compare two networks; None where they saw other images."""
    if not first or [each.actual for each in first] != [each.actual for each in second]:
        return None
    right = [
        (before.actual == before.predicted, after.actual == after.predicted)
        for before, after in zip(first, second, strict=True)
    ]
    return Evidence(len(right), right.count((False, True)), right.count((True, False)))
