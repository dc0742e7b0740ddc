"""The page of `lifline serve` in a real browser, with a real network behind it."""

import base64
import math
from contextlib import ExitStack, contextmanager

import numpy as np
import pytest
from PIL import Image

from lifline.serving.picture import read_picture
from tests.serving.quick_model import COLOURED, EMNIST, FASHION, NUM_STEPS, serving, silent_model, untrained_model

pytestmark = pytest.mark.slow

DESKTOP, PHONE = {"width": 1200, "height": 800}, {"width": 360, "height": 640}
ZERO = [
    (0.5 + 0.18 * math.sin(turn / 20 * math.tau), 0.5 - 0.28 * math.cos(turn / 20 * math.tau)) for turn in range(21)
]
ONE = [(0.52, 0.2), (0.48, 0.8)]
SEVEN = [(0.3, 0.22), (0.7, 0.22), (0.45, 0.8)]
DIGITS = {"0": ZERO, "1": ONE, "7": SEVEN}
WATCH_STEPS = """
    window.steps = [];
    new MutationObserver(() => {
        const scores = [...document.querySelectorAll("#scores b")].map((score) => Number(score.textContent));
        window.steps.push([Number(document.getElementById("step").value), scores]);
    }).observe(document.getElementById("of"), { childList: true });
"""
MAX_PRESSES = 10
PREDICT = "**/predict?details=true"
LAST_STEP = f"Step {NUM_STEPS} of {NUM_STEPS}"
STEPS_WITH_SPIKES = """(numSteps) => {
    const raster = document.getElementById("raster"), height = raster.height - 24 * devicePixelRatio;
    const pixels = raster.getContext("2d").getImageData(0, 0, raster.width, height).data;
    const steps = new Set();
    for (let i = 0; i < pixels.length / 4; i++)
        if (pixels[4 * i + 3]) steps.add(Math.floor((i % raster.width) / raster.width * numSteps));
    return [...steps].sort();
}"""
EXTENT = """() => {
    const pad = document.getElementById("pad");
    const { data } = pad.getContext("2d").getImageData(0, 0, pad.width, pad.height);
    const extent = (places) => places.reduce((a, b) => Math.max(a, b)) - places.reduce((a, b) => Math.min(a, b));
    const drawn = [...Array(pad.width * pad.height).keys()].filter((i) => data[4 * i] < 128);
    return [extent(drawn.map((i) => i % pad.width)), extent(drawn.map((i) => Math.floor(i / pad.width)))];
}"""

IS_DRAWN = """() => {
    const pad = document.getElementById("pad");
    return pad.getContext("2d").getImageData(0, 0, pad.width, pad.height).data.some((value) => value < 128);
}"""
GIVE_FILE = """async ([base64, how]) => {
    const content = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
    const data = new DataTransfer();
    data.items.add(new File([content], "given.png", { type: "image/png" }));
    const event = how === "drop" ? new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true })
        : new ClipboardEvent("paste", { clipboardData: data, bubbles: true });
    document.body.dispatchEvent(event);
}"""


@pytest.fixture
def visit(browser, url):
    """Open the page of MNIST's network; what it logs, raises or asks of others is an error at the end."""
    with visiting(browser, url) as open_page:
        yield open_page


@contextmanager
def visiting(browser, url):
    contexts, wrong = [], []

    def open_page(**options):
        context = browser.new_context(**{"viewport": DESKTOP, "reduced_motion": "reduce"} | options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: message.type != "error" or wrong.append(message.text))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("request", lambda request: request.url.startswith((url, "data:")) or wrong.append(request.url))
        page.goto(url)
        page.locator("#main").wait_for()  # once it knows of the data set
        page.evaluate(WATCH_STEPS)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert wrong == []


def points(page, stroke):
    box = page.locator("#pad").bounding_box()
    return [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in stroke]


def draw(page, stroke):
    begin, *others = points(page, stroke)
    page.mouse.move(*begin)
    page.mouse.down()
    for point in others:
        page.mouse.move(*point, steps=2)
    page.mouse.up()


def steps_with_spikes(page) -> list[int]:
    return page.evaluate(STEPS_WITH_SPIKES, NUM_STEPS)


def answer(page) -> str:
    """The class that it says, once it does."""
    return page.locator("#answer strong").inner_text()


@pytest.mark.parametrize("digit", DIGITS)
def test_a_drawn_digit_is_classified(visit, digit):
    page = visit()
    with page.expect_response(PREDICT) as response:
        draw(page, DIGITS[digit])
    assert answer(page) == response.value.json()["class"] == digit
    share = round(100 * response.value.json()["confidence"])
    assert page.locator("#answer").inner_text().split() == [digit, *f"It has {share} % of the output spikes.".split()]


@pytest.mark.parametrize(
    ("decoding", "told"),
    [("rate", "No output neuron has fired."), ("membrane", "0 No output neuron has fired: its membranes tell.")],
)
def test_where_no_output_neuron_fires_the_class_is_shown_if_membranes_tell_it(browser, model, tmp_path, decoding, told):
    silent = silent_model(model, tmp_path / "silent.onnx", decoding)
    with serving(silent) as (_, url), visiting(browser, url) as open_page:
        page = open_page()
        with page.expect_response(PREDICT):
            draw(page, SEVEN)
        page.locator("#answer", has_text="No output neuron").wait_for()
        assert " ".join(page.locator("#answer").inner_text().split()) == told


def test_scores_build_up_step_by_step(visit):
    page = visit(reduced_motion="no-preference")
    with page.expect_response(PREDICT) as response:
        draw(page, SEVEN)
    assert answer(page) == "7"
    steps = [step for step in page.evaluate("steps") if step[0]]
    assert [step for step, _ in steps] == list(range(1, NUM_STEPS + 1))
    spikes = response.value.json()["spikes"]
    for step, scores in steps:
        assert scores == [sum(column) for column in zip(*spikes[:step], strict=True)]


def test_the_raster_has_the_hidden_spikes_and_the_slider_goes_back(visit):
    page = visit()
    assert steps_with_spikes(page) == []
    with page.expect_response(PREDICT) as response:
        draw(page, SEVEN)
    answer(page)
    hidden = response.value.json()["hidden_spikes"]
    firing = [step for step, neurons in enumerate(hidden) if neurons]
    assert steps_with_spikes(page) == firing
    num_firing = len({neuron for neurons in hidden for neuron in neurons})
    assert f"{sum(map(len, hidden))} spikes. {num_firing} of 100 neurons fire" in page.locator("#fired").inner_text()
    page.locator("#step").focus()
    for _ in range(3):
        page.keyboard.press("ArrowLeft")
    assert page.locator("#of").inner_text() == f"Step {NUM_STEPS - 3} of {NUM_STEPS}"
    assert steps_with_spikes(page) == [step for step in firing if step < NUM_STEPS - 3]


def test_a_digit_can_be_drawn_by_keys_alone(visit):
    page = visit()
    page.keyboard.press("Tab")
    assert page.locator("#cursor").is_visible()
    page.keyboard.press("Space")
    for _ in range(22):
        page.keyboard.press("ArrowDown")
    page.keyboard.press("Space")
    assert answer(page) == "1"
    page.keyboard.press("Delete")
    assert page.locator("#answer strong").count() == 0
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "clear"
    assert not page.locator("#cursor").is_visible()


def test_two_arrows_together_draw_aslant(visit):
    page = visit()
    page.locator("#pad").focus()
    page.keyboard.press("Space")
    page.keyboard.down("ArrowLeft")
    page.keyboard.down("ArrowDown")
    for _ in range(15):
        page.keyboard.down("ArrowDown")  # as it repeats
    page.keyboard.up("ArrowLeft")
    page.keyboard.up("ArrowDown")
    answer(page)
    width, height = page.evaluate(EXTENT)
    assert min(width, height) > 200


def test_a_digit_can_be_drawn_by_finger_on_a_phone(visit):
    page = visit(viewport=PHONE, has_touch=True, is_mobile=True, device_scale_factor=2)
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    finger = page.context.new_cdp_session(page)
    for kind, (x, y) in zip(["touchStart", "touchMove", "touchMove"], points(page, SEVEN), strict=True):
        finger.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": x, "y": y}]})
    finger.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    assert answer(page) == "7"
    assert page.evaluate("scrollY") == 0
    box = page.locator("#answer").bounding_box()
    assert box["y"] + box["height"] <= PHONE["height"]


def test_who_wants_no_motion_sees_the_last_step_at_once(visit):
    page = visit()
    draw(page, SEVEN)
    assert answer(page) == "7"
    assert [step for step, _ in page.evaluate("steps") if step] == [NUM_STEPS]


def test_clear_begins_anew(visit):
    page = visit()
    draw(page, SEVEN)
    answer(page)
    page.get_by_role("button", name="Clear").click()
    assert page.locator("#answer strong").count() == 0
    assert steps_with_spikes(page) == []
    draw(page, ZERO)
    assert answer(page) == "0"


def test_an_answer_that_comes_late_is_dropped(visit):
    page = visit()
    late = []
    page.route(PREDICT, lambda route: late.append(route), times=1)  # noqa: PLW0108 - Playwright marks it
    with page.expect_request(PREDICT):
        draw(page, ONE)
    page.get_by_role("button", name="Clear").click()
    draw(page, SEVEN)
    assert answer(page) == "7"
    with page.expect_response(PREDICT) as response:
        late[0].continue_()
    assert response.value.json()["class"] == "1"
    assert answer(page) == "7"


def test_a_server_that_does_not_answer_is_told(browser, url):
    page = browser.new_page(reduced_motion="reduce")
    page.goto(url)
    page.locator("#main").wait_for()
    page.context.set_offline(True)
    draw(page, ONE)
    page.get_by_text("No answer: the server does not answer.").wait_for()
    page.context.set_offline(False)
    draw(page, ONE)
    assert answer(page) == "1"
    page.close()


@pytest.fixture(scope="module")
def url_of(tmp_path_factory, params):
    """The address of a server of an untrained network for a data set."""
    with ExitStack() as servers:
        yield lambda dataset: servers.enter_context(serving(untrained_model(tmp_path_factory, params, dataset)))[1]


def picture(folder, name="picture.png", size=(230, 170), mode="RGB"):
    path = folder / name
    Image.radial_gradient("L").resize(size).convert(mode).save(path)
    return path


def seen(page) -> np.ndarray:
    """What the canvas of the image shows, `[H, W, 3]`."""
    width, height, pixels = page.evaluate("""() => {
        const seen = document.getElementById("seen"), { width, height } = seen;
        return [width, height, [...seen.getContext("2d").getImageData(0, 0, width, height).data]];
    }""")
    return np.array(pixels).reshape(height, width, 4)[..., :3]


def test_a_data_set_that_cannot_be_drawn_takes_a_picture_file(browser, url_of, tmp_path):
    with visiting(browser, url_of(COLOURED)) as visit:
        page = visit()
        assert page.title() == "lifline: Pets"
        assert page.get_by_role("heading", level=1).inner_text() == "A spiking network for Pets"
        assert not page.locator("#pad").is_visible()
        assert not page.get_by_role("button", name="Clear").is_visible()
        assert page.locator("#scores em").all_inner_texts() == ["cat", "dog", "mouse"]
        page.get_by_label("Choose a picture").set_input_files(picture(tmp_path))
        page.get_by_text("what the network sees of picture.png").wait_for()
        page.get_by_text(LAST_STEP).wait_for()
        image = read_picture(tmp_path / "picture.png", COLOURED) * 255
        np.testing.assert_array_equal(seen(page), np.moveaxis(image.round(), 0, -1))


def test_a_file_can_be_chosen_by_keys_and_again(visit, tmp_path):
    page = visit()
    for _ in range(3):
        page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "file"
    choosers = []
    page.on("filechooser", lambda chooser: choosers.append(chooser))  # noqa: PLW0108 - Playwright marks what it calls
    for _ in range(2):
        chooser = opened_by_space(page, choosers)
        with page.expect_response(PREDICT):
            chooser.set_files(picture(tmp_path))


def opened_by_space(page, choosers):
    """What Space opens. A busy Chromium loses a press while its last chooser is still being put away: press again."""
    choosers.clear()
    for _ in range(MAX_PRESSES):
        page.keyboard.press("Space")
        for _ in range(20):
            if choosers:
                return choosers[-1]
            page.wait_for_timeout(100)
    raise AssertionError(f"no file chooser after {MAX_PRESSES} presses of Space")


@pytest.mark.parametrize("how", ["drop", "paste"])
def test_a_picture_may_be_dropped_or_pasted(visit, tmp_path, how):
    page = visit()
    draw(page, SEVEN)
    assert answer(page) == "7"
    content = base64.b64encode(picture(tmp_path).read_bytes()).decode()
    with page.expect_response(PREDICT):
        page.evaluate(GIVE_FILE, [content, how])
    page.get_by_text("what the network sees of given.png").wait_for()
    assert not page.evaluate(IS_DRAWN)
    draw(page, SEVEN)
    page.locator("#answer strong", has_text="7").wait_for()
    assert page.locator("#caption").inner_text() == "what the network sees"


def test_a_file_that_is_no_picture_is_told(browser, url, tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    page = browser.new_page()
    page.goto(url)
    page.locator("#main").wait_for()  # once it knows of the data set
    page.get_by_label("Choose a picture").set_input_files(tmp_path / "notes.txt")
    page.get_by_text("No answer: Content-Type is 'text/plain'; allowed are image/png").wait_for()
    assert page.locator("#caption").inner_text() == "what the network sees"
    page.close()


def test_a_picture_of_many_bytes_is_made_smaller_first(visit, tmp_path):
    noise = np.random.default_rng(0).integers(0, 60, (2400, 2400), dtype=np.uint8)
    noise[600:1800, 1100:1300] += 180
    Image.fromarray(noise).save(tmp_path / "large.png", compress_level=0)
    assert (tmp_path / "large.png").stat().st_size > 5_000_000
    page = visit()
    with page.expect_response(PREDICT) as response:
        page.get_by_label("Choose a picture").set_input_files(tmp_path / "large.png")
    assert response.value.status == 200
    assert response.value.request.headers["content-type"] == "image/jpeg"


def test_what_is_on_black_is_drawn_in_white_on_black(browser, url_of):
    with visiting(browser, url_of(FASHION)) as visit:
        page = visit()
        assert page.locator("#scores em").all_inner_texts() == list(FASHION.class_names)
        with page.expect_response(PREDICT):
            draw(page, ONE)
        page.get_by_text(LAST_STEP).wait_for()
        rows, columns = np.nonzero(seen(page)[..., 0])
        assert (rows.min(), rows.max()) == (0, 27)
        assert np.ptp(columns) < 10


@pytest.mark.parametrize("size", [DESKTOP, PHONE, {"width": 390, "height": 844}], ids=lambda size: str(size["width"]))
def test_of_many_classes_with_long_names_the_best_ten_are_shown(browser, url_of, size, tmp_path):
    names = tuple(f"{name}, a class with a rather long name" for name in EMNIST.class_names)
    named = EMNIST.model_copy(update={"name": "long", "title": "Long names", "class_names": names})
    with visiting(browser, url_of(named)) as visit:
        page = visit(viewport=size)
        assert page.locator("#scores li").count() == 10
        assert page.locator("#more").inner_text() == "and 37 more"
        with page.expect_response(PREDICT) as response:
            draw(page, SEVEN)
        found = response.value.json()
        page.get_by_text(LAST_STEP).wait_for()
        counts = np.sum(found["spikes"], axis=0)
        shown = [
            names.index(name) for name in page.locator("#scores em").evaluate_all("all => all.map(each => each.title)")
        ]
        assert shown[0] == names.index(found["class"])
        assert sorted(counts[shown])[::-1][:9] == sorted(counts)[::-1][:9]
        assert [int(score) for score in page.locator("#scores b").all_inner_texts()] == counts[shown].tolist()
        assert page.evaluate("document.documentElement.scrollWidth") == size["width"]


def test_what_is_put_into_the_page_does_not_run_nor_ask_elsewhere(browser, url):
    page = browser.new_page()
    page.goto(url)
    page.evaluate("""() => {
        const script = document.createElement("script");
        script.textContent = "window.ran = true";
        document.body.append(script);
    }""")
    assert page.evaluate("window.ran") is None
    assert page.evaluate("fetch('http://127.0.0.1:9/').catch((error) => error.message)") == "Failed to fetch"
    page.close()
