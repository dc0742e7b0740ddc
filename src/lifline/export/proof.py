"""What a comparison of a file with its network proves."""

from typing import Protocol

from lifline.errors import ModelError


class Compared(Protocol):
    """How far a file and the network disagree."""

    @property
    def class_mismatches(self) -> int:
        """Images on which they decide otherwise."""

    def describe(self) -> str:
        """The same in a line."""


def require_equality(comparison: Compared, max_class_mismatches: int) -> None:
    """Refuse a model that decides otherwise than the network too often.

    Raises:
        ModelError: on more images than `max_class_mismatches`.
    """
    if comparison.class_mismatches > max_class_mismatches:
        raise ModelError(
            f"{comparison.describe()}; allowed by export.max_class_mismatches are {max_class_mismatches} images"
        )


def verdict(class_mismatches: int, num_images: int, where: str, equal: str = "classes") -> str:
    """Return in a few words what a comparison proves that `require_equality` did not refuse."""
    if class_mismatches:
        differing = f"other classes on {class_mismatches:,} of {num_images:,} images {where}"
        return f"{differing}, as export.max_class_mismatches allows"
    return f"proven, equal {equal} on {num_images:,} images {where}"
