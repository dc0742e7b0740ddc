"""Where in a picture the character is, and how much each pixel of it stands out."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageOps
from scipy import ndimage

from lifline.errors import PictureError

LEAST_CONTRAST = 0.1
"""Between ground and character, where that of black and white is 1."""

INK = 0.3
"""Share of the character's contrast from which a pixel is the character's."""

STROKE_EDGE = 1 / 20
"""How far a stroke may fade out, as a share of the character's longer side."""

VIEW_SIDE = 350
"""Pixels to which the longer side of a picture is reduced, at most, for a look at it."""

MAX_LOOKS = 8
NUM_LEVELS = 12
"""Of brightness, at which a picture is cut into parts."""

NEAR = 0.15
"""How far a stroke apart may be, as a share of the character's longer side."""

LEAST_PIECE = 0.05
"""Share of a character's pixels that a stroke apart has at least; what is smaller is a speck."""

COMPANION = 0.6
"""Share of the height of the taller of two characters that their rows have in common at least."""

SOLID = 0.6
"""Thickness from which a part is no stroke, as a share of its longer side."""

QUADRILATERAL = 0.85
"""Likeness to one from which a part is a paper; a circle's is 0.64."""

ROUND = 0.7
"""Share of its box that a disc fills at least; a circle fills 0.79."""

LEAST_HOLE = 0.005
"""Share of a disc's pixels that the character on it has at least."""

MIN_PAPER_SIDE = 12
WHITE = np.float32(255 * np.sqrt(3))

OPPONENTS = (
    np.array([[1, 1, 1], [1, -1, 0], [1, 1, -2]], dtype=np.float32) / np.array([[3], [2], [6]], np.float32) ** 0.5
)
"""Grey, red against green, yellow against blue: in one of them, any two colours differ by more than half."""

Grey = NDArray[np.float32]
"""Pixels `[height, width]`."""

Colours = NDArray[np.float32]
"""Pixels `[height, width, 3]`; the distance between black and white is 1."""

Mask = NDArray[np.bool_]
Box = tuple[slice, slice]


class _Part(NamedTuple):
    """Connected pixels that are lighter, or darker, than all around them."""

    labels: NDArray[np.int32]
    """Of all parts of the picture at the same level, `[height, width]`."""

    label: int
    box: Box
    filled: Mask
    """The pixels within the box, with those in holes."""

    contrast: float

    @property
    def mask(self) -> Mask:
        """The pixels within the box."""
        mask: Mask = self.labels[self.box] == self.label
        return mask

    @property
    def prominence(self) -> float:
        """A part with holes is more prominent than they are, and a character than a caption."""
        return self.contrast * float(np.sqrt(self.filled.sum()))


def find_character(picture: Image.Image) -> Grey | None:
    """How much each pixel of the character's box stands out in an RGB picture; None where nothing does.

    Looks at the whole picture, then closer: at what is on the paper, the disc or in the frame that it sees, or at the
    character itself.

    Raises:
        PictureError: there are several characters.
    """
    seen = None
    for _ in range(MAX_LOOKS):
        view = _view(picture)
        part = _most_prominent(view)
        if part is None or _reaches_the_edges(view):
            picture = _with_margins(picture, view)
            view = _view(picture)
            part = _most_prominent(view)
        if part is None:
            break
        seen = view, part
        if _is_ground(view, part):
            closer = _cut_out(picture, part.box, -0.02)
        else:
            if _has_companion(part):
                raise PictureError("holds several characters; allowed is one")
            closer = _cut_out(picture, part.box, 0.5)
            if _factor(closer) == _factor(picture):
                break
        picture = closer
    return None if seen is None else _ink(*seen)


def _factor(picture: Image.Image) -> int:
    return -(-max(picture.size) // VIEW_SIDE)


def _view(picture: Image.Image) -> Colours:
    return np.asarray(picture.reduce(_factor(picture)), dtype=np.float32) / WHITE


def _cut_out(picture: Image.Image, box: Box, margin: float) -> Image.Image:
    """What a box of the picture's view shows, with a margin as a share of its longer side."""
    factor = _factor(picture)
    (top, bottom), (left, right) = ((side.start * factor, side.stop * factor) for side in box)
    wider = round(margin * max(bottom - top, right - left))
    return picture.crop(
        (
            max(0, left - wider),
            max(0, top - wider),
            min(picture.width, right + wider),
            min(picture.height, bottom + wider),
        )
    )


def _border(pixels: NDArray[Any]) -> NDArray[Any]:
    return np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])


def _reaches_the_edges(view: Colours) -> bool:
    """Whether the picture is cut out so closely that its character goes from edge to edge."""
    distance = np.linalg.norm(view - np.median(_border(view), axis=0), axis=-1)
    if distance.max() < LEAST_CONTRAST:
        return False
    labels, _ = ndimage.label(distance > distance.max() / 2)
    part = _part(distance, labels, int(np.bincount(labels.ravel())[1:].argmax()) + 1)
    spans = all(side.stop - side.start > 0.95 * whole for side, whole in zip(part.box, labels.shape, strict=True))
    return spans and not _is_ground(view, part)


def _with_margins(picture: Image.Image, view: Colours) -> Image.Image:
    red, green, blue = (round(float(channel)) for channel in np.median(_border(view), axis=0) * WHITE)
    return ImageOps.expand(picture, max(picture.size) // 10 + 1, (red, green, blue))


def _most_prominent(view: Colours) -> _Part | None:
    parts = [part for axis in OPPONENTS for part in _parts(view @ axis)]
    visible = (part for part in parts if part.contrast >= LEAST_CONTRAST)
    return max(visible, key=lambda part: part.prominence, default=None)


def _parts(plane: Grey) -> Iterator[_Part]:
    """At each level the largest lighter and the largest darker part that nothing connects to the picture's edges.

    So shadows, tables and ruled lines that come in over an edge are none, whatever their shape.
    """
    low, high = plane.min(), plane.max()
    if high - low < LEAST_CONTRAST:
        return
    for level in np.linspace(low, high, NUM_LEVELS + 2)[1:-1]:
        lighter = plane > level
        for mask in (lighter, ~lighter):
            labels, _ = ndimage.label(mask)
            sizes = _sizes(labels)
            if sizes.any():
                yield _part(plane, labels, int(sizes.argmax()))


def _sizes(labels: NDArray[np.int32]) -> NDArray[np.int64]:
    """Of each part in pixels, or 0 where it reaches the edges."""
    sizes: NDArray[np.int64] = np.bincount(labels.ravel())
    sizes[0] = sizes[_border(labels)] = 0
    return sizes


def _part(plane: Grey, labels: NDArray[np.int32], label: int) -> _Part:
    box = _box(labels == label)
    wider = _wider(box, 3)
    mask = labels[wider] == label
    around = ~_filled(mask)
    contrast = abs(float(np.median(plane[wider][mask]) - np.median(plane[wider][around]))) if around.any() else 0.0
    return _Part(labels, label, box, _filled(labels[box] == label), contrast)


def _filled(mask: Mask) -> Mask:
    """The mask without its holes."""
    others, _ = ndimage.label(np.pad(~mask, 1, constant_values=True))
    filled: Mask = others[1:-1, 1:-1] != others[0, 0]
    return filled


def _box(mask: Mask) -> Box:
    """Around the mask's pixels."""
    (top, bottom), (left, right) = (np.flatnonzero(mask.any(axis=axis))[[0, -1]] for axis in (1, 0))
    return slice(int(top), int(bottom) + 1), slice(int(left), int(right) + 1)


def _wider(box: Box, by: int) -> Box:
    rows, columns = (slice(max(0, side.start - by), side.stop + by) for side in box)
    return rows, columns


def _is_ground(view: Colours, part: _Part) -> bool:
    """Whether it is what a character is on, or in: a paper, a disc, a frame."""
    shorter, longer = sorted(part.filled.shape)
    if longer < MIN_PAPER_SIDE or shorter < longer / 2:
        return False
    return (
        _is_solid(part) or _likeness_to_quadrilateral(part.filled) > QUADRILATERAL or _holds_another_colour(view, part)
    )


def _is_solid(part: _Part) -> bool:
    thickness = 2 * ndimage.distance_transform_edt(np.pad(part.mask, 1)).max()
    return bool(thickness > SOLID * max(part.filled.shape))


def _likeness_to_quadrilateral(filled: Mask) -> float:
    """Of the area of both, what it has in common with the quadrilateral whose corners are its outermost points."""
    points = np.argwhere(filled)[:, ::-1].astype(float)
    first = points[((points - points.mean(axis=0)) ** 2).sum(axis=1).argmax()]
    third = points[((points - first) ** 2).sum(axis=1).argmax()]
    across = (points - first) @ np.array([first[1] - third[1], third[0] - first[0]])
    corners = first, points[across.argmin()], third, points[across.argmax()]
    drawn = Image.new("1", filled.shape[::-1])
    ImageDraw.Draw(drawn).polygon([(x, y) for x, y in corners], fill=1)
    quadrilateral = np.asarray(drawn)
    return float((quadrilateral & filled).sum() / (quadrilateral | filled).sum())


def _holds_another_colour(view: Colours, part: _Part) -> bool:
    """Whether what shows in its holes is not what is around it; in those of a character its paper shows."""
    wider = _wider(part.box, 3)
    mask = part.labels[wider] == part.label
    filled = _filled(mask)
    holes = filled & ~mask
    if holes.sum() < LEAST_HOLE * filled.sum() or part.filled.mean() < ROUND:
        return False
    within, own, around = (np.median(view[wider][where], axis=0) for where in (holes, mask, ~filled))
    return bool(np.linalg.norm(within - around) > np.linalg.norm(own - around) / 2)


def _has_companion(part: _Part) -> bool:
    """Whether a stroke about as tall stands beside it; where a character falls into two, one is above the other."""
    rows, columns = part.box
    sizes = _sizes(part.labels)
    for label in np.flatnonzero(sizes >= LEAST_PIECE * sizes[part.label]):
        other, along = _box(part.labels == label)
        shared = min(rows.stop, other.stop) - max(rows.start, other.start)
        apart = along.start >= columns.stop or columns.start >= along.stop
        if apart and shared > COMPANION * max(rows.stop - rows.start, other.stop - other.start):
            return True
    return False


def _ink(view: Colours, part: _Part) -> Grey | None:
    """How much the part, and strokes near it, stand out from a ground that may be lit unevenly."""
    size = max(part.filled.shape)
    reach = max(1, round(STROKE_EDGE * size))
    pieces = np.isin(part.labels, _pieces(part, round(NEAR * size)))
    wider = _wider(_box(pieces), 4 * reach)
    mask, colours = pieces[wider], view[wider]
    near = ndimage.binary_dilation(mask, iterations=reach)
    ground = ~near if not near.all() else ~mask
    direction = np.median(colours[mask], axis=0) - np.median(colours[ground], axis=0)
    plane = colours @ (direction / max(np.linalg.norm(direction), 1e-6))
    plane = plane - _light(plane, ground)
    unevenness = 2 * float(np.median(np.abs(plane[ground])))
    ink: Grey = (np.clip(plane - unevenness, 0, None) * near).astype(np.float32)
    if not ink.any():
        return None
    return ink[_box(ink >= INK * np.percentile(ink[mask], 90))]


def _pieces(part: _Part, distance: int) -> NDArray[np.int64]:
    """The part's label, and those of strokes apart from it that come within a distance of its box."""
    sizes = _sizes(part.labels)
    near = np.unique(part.labels[_wider(part.box, distance)])
    found: NDArray[np.int64] = near[sizes[near] >= max(1, LEAST_PIECE * sizes[part.label])]
    return found


def _light(plane: Grey, ground: Mask) -> Grey:
    """The ground everywhere: a slope through what is seen of it, where outliers do not count."""
    terms = np.stack([np.ones(plane.shape), *np.indices(plane.shape)], axis=-1)
    used = ground
    for _ in range(3):
        slope = np.linalg.lstsq(terms[used], plane[used], rcond=None)[0]
        light: Grey = (terms @ slope).astype(np.float32)
        distance = np.abs(plane - light)
        used = ground & (distance <= 2.5 * np.median(distance[ground]) + 1e-3)
    return light
