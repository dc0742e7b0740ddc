"""What is measured, one module per section; each has a `measure` that returns a table."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Settings:
    """What a section is given."""

    mnist: Path
    """The folder of the IDX files."""

    images: Path
    """An `.npz` file with a few thousand training images, ready for the network, and their labels."""

    few_images: Path
    """The same with one batch of the tutorial's."""

    is_quick: bool
    """Only see that all works: the figures will not be quoted."""
