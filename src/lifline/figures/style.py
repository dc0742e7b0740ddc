"""What figures look like, and what several of them draw."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from typing import Any

import numpy as np
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

STYLE: dict[Any, Any] = {
    "font.size": 11,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 12,
    "grid.color": "0.9",
    "legend.frameon": False,
    "text.parse_math": False,  # names of classes may hold a $
}
DOTS_PER_INCH = 120
BLUE, ORANGE, GREY = "tab:blue", "tab:orange", "0.7"
AS_IT_IS: dict[str, Any] = {"cmap": "gray", "vmin": 0, "vmax": 1}
"""How images are shown: bright where they are bright, pale where they are pale."""

SIZE = (8, 4.5)
"""Inches."""


MAX_CLASSES, NUM_BEST = 20, 10
"""Where there are more classes than fit beside each other, the best are drawn, so many."""

MAX_CHARACTERS = 24
"""Of a class's name."""

TITLE_SIZE = 9
"""Of one of several images, in points."""


@contextmanager
def drawing(
    name: str, rows: int = 1, columns: int = 1, width: float = SIZE[0], height: float = SIZE[1]
) -> Iterator[tuple[dict[str, bytes], Any]]:
    """Yield axes to draw in; afterwards the dictionary holds the figure as a PNG under `name`."""
    figures: dict[str, bytes] = {}
    with style.context(STYLE, after_reset=True):  # whatever style others have set
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figures, figure.subplots(rows, columns)
        figures[name] = as_png(figure)


def as_png(figure: Figure) -> bytes:
    """Return a figure as the bytes of a PNG."""
    picture = BytesIO()
    figure.savefig(picture, format="png", dpi=DOTS_PER_INCH, bbox_inches="tight", facecolor="white")
    return picture.getvalue()


def as_picture(image: NDArray[Any]) -> NDArray[Any]:
    """Return an image `[C, H, W]`, uint8 or in [0, 1], as matplotlib takes it: `[H, W]`, or `[H, W, 3]` of colours."""
    shown = image / np.float32(255) if image.dtype == np.uint8 else image
    return shown[0] if len(shown) == 1 else np.moveaxis(shown, 0, -1)


def show_image(axis: Axes, image: NDArray[Any], title: str) -> None:
    """Show an image `[C, H, W]`."""
    axis.imshow(as_picture(image), **AS_IT_IS)
    axis.set_title(title)
    axis.axis("off")


def show_images(
    axis: Axes, images: Iterable[NDArray[Any]], columns: int, titles: Sequence[str] = (), **options: Any
) -> None:
    """Show pictures in rows, in one and the same axes: to lay out axes for each takes seconds."""
    lines = max((title.count("\n") + 1 for title in titles), default=0)
    height = 1.1 if lines == 0 else 1.2 + 0.15 * lines
    rows = 1
    for i, image in enumerate(images):
        rows = i // columns + 1
        left, bottom = i % columns * 1.1, -(i // columns) * height
        width, tall = image.shape[1] / max(image.shape[:2]), image.shape[0] / max(image.shape[:2])
        axis.imshow(image, extent=(left + (1 - width) / 2, left + (1 + width) / 2, bottom, bottom + tall), **options)
        if titles:
            axis.text(left + 0.5, bottom + 1.05, titles[i], ha="center", fontsize=TITLE_SIZE)
    axis.set(xlim=(0, columns * 1.1), ylim=(-(rows - 1) * height, height))
    axis.axis("off")


def raster(axis: Axes, fired: NDArray[Any], name: str, class_names: Sequence[str] = ()) -> None:
    """Draw spikes `[T, N]`; of hidden neurons those that fire, of an output layer all, by their classes' names."""
    is_output = bool(class_names)
    neurons = np.arange(fired.shape[1]) if is_output else np.flatnonzero(fired.any(0))
    step, row = np.nonzero(fired[:, neurons])
    axis.scatter(step + 1, row, s=80 if is_output else 3, marker="|" if is_output else ".", color="black", linewidths=1)
    axis.set(title=f"{name}: {len(step)} spikes", ylabel="" if is_output else f"{len(neurons)} neurons that fire")
    time_axis(axis, len(fired))
    axis.invert_yaxis()
    if is_output:
        axis.set(yticks=neurons, yticklabels=class_names, ylim=(len(neurons) - 0.5, -0.5))


def classes_to_draw(counts: NDArray[Any], decided: int) -> list[int]:
    """Return the classes to draw, by their spikes `[C]`: all, or where there are many the decided and the next best."""
    if len(counts) <= MAX_CLASSES:
        return list(range(len(counts)))
    ranked = np.argsort(-counts, kind="stable").tolist()
    return [decided, *(i for i in ranked if i != decided)][:NUM_BEST]


def of_classes(name: str, num_shown: int, num_classes: int) -> str:
    """Return a title that tells where some classes are left out."""
    return name if num_shown == num_classes else f"{name}, {num_shown} of {num_classes} classes"


def short(name: str, max_characters: int = MAX_CHARACTERS) -> str:
    """Return the name of a class, cut where it is long."""
    return name if len(name) <= max_characters else f"{name[: max_characters - 1]}…"


def narrowed(name: str, max_width: float) -> str:
    """Return the name of a class, cut where as the title of one of several images it is wider, in inches."""
    shown = short(name)
    while len(shown) > 1 and _width(shown) > max_width:
        shown = short(name, len(shown) - 1)
    return shown


def _width(text: str) -> float:
    points, _, _ = text_to_path.get_text_width_height_descent(text, FontProperties(size=TITLE_SIZE), ismath=False)
    return points / 72


def time_axis(axis: Axes, num_steps: int) -> None:
    """Let the axis show all steps."""
    axis.set(xlabel="step", xlim=(0.5, num_steps + 0.5))
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))


def scores(axis: Axes, counts: NDArray[Any], decided: int, class_names: Sequence[str]) -> None:
    """Draw the output spikes `[C]` by class."""
    rows = range(len(counts))
    axis.barh(rows, counts, color=[ORANGE if i == decided else GREY for i in rows])
    axis.set(yticks=rows, yticklabels=class_names, xlabel="output spikes", title=f"decided: {class_names[decided]}")
    axis.invert_yaxis()
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
