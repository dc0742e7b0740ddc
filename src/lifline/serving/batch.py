"""Predictions of many images, written as a table while they are made."""

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn

from lifline.errors import LiflineError, PictureError
from lifline.serving.predictor import SILENT, Decision, Predictor
from lifline.serving.sources import Found, opened
from lifline.system.files import write_csv
from lifline.system.progress import new_bar

TABLE = ".csv"
NUM_DIGITS = 4
"""Of a confidence, behind the point."""


def predict_all(predictor: Predictor, path: Path, output: Path) -> str:
    """Predict all pictures in a folder, or all images in an `.npz` file, and write a table, a row for each, in order.

    Its columns: `file`, the picture's path, or as `x_test[0]` its place in the array; `class`; `confidence`; the
    spikes of each class's output neuron, `spikes_` and the class's name; `error`, why a picture has none of these,
    or that no output neuron fired, so that it has no class. The table replaces `output` when it is complete.

    Returns:
        What was written, in a line.

    Raises:
        LiflineError: as `opened`, the output is a folder or no table, or no image could be read: the table tells why.
        OSError: the output cannot be written.
    """
    if output.suffix.lower() != TABLE:
        raise LiflineError(f"--output is {output}; allowed is a name that ends with {TABLE}")
    if output.is_dir():
        raise LiflineError(f"--output is {output}, a folder; allowed is a file")
    header = ["file", "class", "confidence", *(f"spikes_{name}" for name in predictor.dataset.class_names), "error"]
    num_unreadable, num_silent, first_error = 0, 0, ""
    columns = [TextColumn("predicting"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()]
    with opened(path, predictor.dataset) as source, new_bar(*columns) as progress:

        def rows() -> Iterator[list[Any]]:
            nonlocal num_unreadable, num_silent, first_error
            for found, decision in decisions(predictor, progress.track(source.images, total=source.num_images)):
                num_unreadable += decision is None
                num_silent += decision is not None and not decision.is_decided
                first_error = first_error or found.error
                yield _row(found, decision, len(predictor.dataset.class_names))

        write_csv(output, header, rows())
    if first_error and num_unreadable == source.num_images:
        raise PictureError(f"{output}: none of {source.num_images:,} images could be read; the first: {first_error}")
    unreadable = f"; {num_unreadable:,} could not be read: the column error tells why" if num_unreadable else ""
    silent = f"; of {num_silent:,} image{'s' * (num_silent > 1)} {SILENT}" if num_silent else ""
    return (
        f"{output}: predictions of {source.num_images - num_unreadable:,} of {source.num_images:,} images"
        f"{unreadable}{silent}"
    )


def decisions(predictor: Predictor, images: Iterable[Found]) -> Iterator[tuple[Found, Decision | None]]:
    """Decide on images in order, many at once; on what is no image there is none."""
    iterator = iter(images)
    while batch := list(islice(iterator, predictor.batch_size)):
        pixels = [found.image for found in batch if found.image is not None]
        decided = iter(predictor.decide(np.stack(pixels)) if pixels else [])
        for found in batch:
            yield found, None if found.image is None else next(decided)


def _row(found: Found, decision: Decision | None, num_classes: int) -> list[Any]:
    if decision is None:
        return [found.name, "", "", *[""] * num_classes, found.error]
    decided, error = (decision.decided, "") if decision.is_decided else ("", SILENT)
    return [found.name, decided, round(decision.confidence, NUM_DIGITS), *decision.counts.tolist(), error]
