"""The table of conditions under which real handwriting is read, as pen strokes on pages that are made here."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from lifline.errors import PictureError
from lifline.serving.character import find_character
from lifline.serving.picture import read_picture
from lifline.serving.predictor import Predictor
from tests.conftest import MNIST
from tests.serving.quick_model import quick_model

SIDE = 500
NUM_PAGES = 100
"""Of each condition."""

WHITE, INK, DESK = (250, 250, 250), (20, 20, 30), (70, 50, 42)
DISCS = [(251, 211, 40), (240, 120, 130), (120, 190, 240), (150, 220, 130), (230, 80, 60), (90, 110, 220)]


def pen(image, side):
    """An image of MNIST as pen strokes, 0 to 1."""
    large = np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC), dtype=float) / 255
    return np.clip((large - 0.5) * side / 56 + 0.5, 0, 1)


def somewhere(image, generator, width=SIDE, height=SIDE, shares=(0.4, 0.8)):
    """Pen strokes of a random size and place on a page."""
    side = int(min(width, height) * generator.uniform(*shares))
    top, left = generator.integers(0, height - side + 1), generator.integers(0, width - side + 1)
    ink = np.zeros((height, width))
    ink[top : top + side, left : left + side] = pen(image, side)
    return ink


def drawn(ink, on=WHITE, colour=INK):
    """Colours `[height, width, 3]` of strokes on a ground, which is a colour or a picture."""
    return np.asarray(on) * (1 - ink[..., None]) + np.asarray(colour) * ink[..., None]


def sheet(degrees, lined=False):
    """A white sheet on a dark desk, turned by up to some degrees."""

    def make(image, generator):
        width, height = generator.integers(280, 400, 2)
        paper = np.full((height, width, 3), 240)
        if lined:
            paper[20::40] = paper[21::40] = (130, 150, 220)
        page = Image.fromarray(drawn(somewhere(image, generator, width, height, (0.5, 0.9)), paper).astype(np.uint8))
        turn = degrees * generator.choice([-1, 1]) * generator.uniform(0.4, 1)
        page = page.convert("RGBA").rotate(turn, Image.Resampling.BICUBIC, expand=True)
        desk = Image.new("RGB", (640, SIDE), DESK)
        desk.paste(page, (int(generator.integers(5, 635 - page.width)), (SIDE - page.height) // 2), page)
        return np.asarray(desk)

    return make


def shadow(softness):
    def make(image, generator):
        angle, share = generator.uniform(0, 2 * np.pi), generator.uniform(0.05, 0.35)
        rows, columns = np.indices((SIDE, SIDE)) / SIDE - 0.5
        depth = rows * np.sin(angle) + columns * np.cos(angle)
        dark = 1 / (1 + np.exp(np.clip((np.quantile(depth, 1 - share) - depth) / softness, -50, 50)))
        return drawn(somewhere(image, generator)) * (1 - 0.5 * dark[..., None])

    return make


def ruled(contrast, squared=False):
    def make(image, generator):
        paper = np.full((SIDE, SIDE, 3), WHITE)
        step, width = generator.integers(30, 60), generator.integers(1, 4)
        for start in range(step // 2, step // 2 + width):
            paper[start::step] = np.add(WHITE, contrast * np.subtract(INK, WHITE))
            if squared:
                paper[:, start::step] = paper[start, 0]
        return drawn(somewhere(image, generator), paper)

    return make


def disc(image, generator):
    radius = int(generator.integers(150, 240))
    centre = generator.integers(radius, SIDE - radius, 2)
    page = Image.new("RGB", (SIDE, SIDE), WHITE)
    ImageDraw.Draw(page).circle(centre.tolist(), radius, fill=DISCS[generator.integers(len(DISCS))])
    ink = np.zeros((SIDE, SIDE))
    left, top = centre - radius // 2
    ink[top : top + radius, left : left + radius] = pen(image, radius)
    return drawn(ink, page)


def specks(image, generator):
    dots = Image.new("1", (SIDE, SIDE))
    for _ in range(40):
        ImageDraw.Draw(dots).circle(generator.integers(0, SIDE, 2).tolist(), generator.uniform(1, 6), fill=1)
    return drawn(np.maximum(somewhere(image, generator), np.asarray(dots)))


def salt_and_pepper(share):
    def make(image, generator):
        page, chance = drawn(somewhere(image, generator)), generator.random((SIDE, SIDE))
        page[chance < share / 2], page[chance > 1 - share / 2] = 0, 255
        return page

    return make


def caption(image, generator):
    words = Image.new("L", (SIDE, SIDE))
    ImageDraw.Draw(words).text((100, 460), "Figure 7: a digit, 2024", fill=255, font=ImageFont.load_default(22))
    ink = np.asarray(words) / 255
    ink[:440] = somewhere(image, generator, SIDE, 440)
    return drawn(ink)


def coloured(ground, colour):
    return lambda image, generator: drawn(somewhere(image, generator), ground, colour)


def falling_light(image, generator):
    light = np.linspace(1, 0.4, SIDE)[:: generator.choice([-1, 1])]
    return drawn(somewhere(image, generator)) * (light[:, None, None] if generator.random() < 0.5 else light[:, None])


def desk_at_two_edges(image, generator):
    return np.pad(drawn(somewhere(image, generator)), ((0, 50), (80, 0), (0, 0)), constant_values=40)


def edge_to_edge(image, generator):
    ink = pen(image, 300)
    rows, columns = (np.flatnonzero((ink > 0.5).any(axis=axis)) for axis in (1, 0))
    return drawn(ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])


CONDITIONS = {
    "a plain page": coloured(WHITE, INK),
    "a sheet on a desk": sheet(0),
    "a sheet askew by up to 5 degrees": sheet(5),
    "a sheet askew by up to 10 degrees": sheet(10),
    "a ruled sheet askew": sheet(8, lined=True),
    "a desk at two edges": desk_at_two_edges,
    "a sharp shadow": shadow(0.002),
    "a soft shadow": shadow(0.05),
    "light that falls to 40 %": falling_light,
    "ruled lines": ruled(0.3),
    "dark ruled lines": ruled(0.6),
    "squared paper": ruled(0.4, squared=True),
    "a coloured disc": disc,
    "specks": specks,
    "salt and pepper": salt_and_pepper(0.05),
    "much salt and pepper": salt_and_pepper(0.2),
    "a caption": caption,
    "red on green": coloured((0, 128, 0), (255, 0, 0)),
    "orange on blue": coloured((60, 120, 255), (200, 110, 20)),
    "a highlighter": coloured(WHITE, (255, 245, 80)),
    "a pencil": coloured(WHITE, (180, 180, 182)),
    "chalk on a board": coloured((25, 60, 45), (240, 240, 235)),
    "no margin": edge_to_edge,
}


def taken(page, generator) -> bytes:
    """A PNG of it, with a camera's noise."""
    content = BytesIO()
    shot = np.clip(page + generator.normal(0, 3, page.shape), 0, 255).astype(np.uint8)
    Image.fromarray(shot).save(content, "PNG", compress_level=1)
    return content.getvalue()


@pytest.fixture(scope="module")
def decide(tmp_path_factory, params, training_images):
    predictor = Predictor(str(quick_model(tmp_path_factory, params, training_images)))
    return lambda image: int(predictor.predict(image).decided)


def share_read(condition, decide, test_images) -> float:
    """Of the first digits that the network tells in MNIST's images, those that it tells on such pages."""
    images, labels = test_images.images[: 2 * NUM_PAGES].numpy(), test_images.labels[: 2 * NUM_PAGES].tolist()
    known = [i for i, image in enumerate(images) if decide(image / np.float32(255)) == labels[i]][:NUM_PAGES]
    generator = np.random.default_rng(0)
    pages = [taken(CONDITIONS[condition](images[i, 0], generator), generator) for i in known]
    return np.mean([decide(read_picture(page, MNIST)) == labels[i] for i, page in zip(known, pages, strict=True)])


@pytest.mark.slow
@pytest.mark.parametrize("condition", CONDITIONS)
def test_of_handwriting_nine_in_ten_are_read_under_every_condition(condition, decide, test_images):
    assert share_read(condition, decide, test_images) >= 0.9


@pytest.mark.parametrize("gap", [-20, 0, 40])
def test_several_characters_are_refused(test_images, gap):
    strokes = [pen(test_images.images[i, 0].numpy(), 150) for i in (0, 1, 4)]
    ink = np.zeros((200, 560))
    for position, stroke in enumerate(strokes):
        left = 20 + position * (150 + gap)
        ink[25:175, left : left + 150] = np.maximum(ink[25:175, left : left + 150], stroke)
    with pytest.raises(PictureError, match="the file holds several characters; allowed is one"):
        read_picture(taken(drawn(ink), np.random.default_rng(0)), MNIST)


@pytest.mark.slow
def test_single_characters_are_not_taken_for_several(test_images):
    refused = 0
    for image in test_images.images[:2000, 0].numpy():
        try:
            find_character(Image.fromarray(drawn(pen(image, 200)).astype(np.uint8)))
        except PictureError:
            refused += 1
    assert refused <= 1


def test_what_lies_on_the_page_beside_a_character_is_no_second_one():
    page = Image.new("RGB", (SIDE, SIDE), WHITE)
    ImageDraw.Draw(page).line((200, 150, 200, 350), fill=INK, width=20)
    alone = find_character(page)
    ImageDraw.Draw(page).circle((400, 250), 30, fill=INK)
    np.testing.assert_array_equal(find_character(page), alone)
