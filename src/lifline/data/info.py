"""What the images of a data set are; whoever only shows or prepares images needs no more."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, PositiveInt

from lifline.choices import Preparation

MAX_SIDE = 512
"""Pixels, of an image."""

CHANNELS = (1, 3)
"""Grey, or red, green and blue."""

MAX_CLASSES = 1_000


class DatasetInfo(BaseModel):
    """What the images of a data set are."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    name: Annotated[str, Field(min_length=1)]
    """As runs name it."""

    title: str
    """As people name it."""

    shape: tuple[PositiveInt, PositiveInt, PositiveInt]
    """Of an image: channels, height, width."""

    class_names: Annotated[tuple[str, ...], Field(min_length=1)]
    """By label."""

    preparation: Preparation
    """How a picture from elsewhere is made into such an image."""

    published: str = ""
    """The publisher's page."""

    licence: str = ""

    origin: str = ""
    """What it was made by, to be known again.

    Of a published data set, the SHA-256 of what its description says of its files; of own images of which a share is
    kept for the test, that share.
    """

    def is_printable(self) -> bool:
        """Whether its names hold no control characters, as those of a file from elsewhere may."""
        return all(name.isprintable() for name in (self.name, self.title, *self.class_names))
