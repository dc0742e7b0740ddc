"""The page of `lifline serve` in a real browser, with a real network behind it."""

import math

import pytest

from tests.serving.quick_model import NUM_STEPS

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


@pytest.fixture
def visit(browser, url):
    """Open the page; what it logs, raises or asks of others is an error at the end."""
    contexts, wrong = [], []

    def open_page(**options):
        context = browser.new_context(**{"viewport": DESKTOP, "reduced_motion": "reduce"} | options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: message.type != "error" or wrong.append(message.text))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("request", lambda request: request.url.startswith((url, "data:")) or wrong.append(request.url))
        page.goto(url)
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
    with page.expect_response("**/predict") as response:
        draw(page, DIGITS[digit])
    assert answer(page) == response.value.json()["class"] == digit
    share = round(100 * response.value.json()["confidence"])
    assert page.locator("#answer").inner_text().split() == [digit, *f"It has {share} % of the output spikes.".split()]


def test_scores_build_up_step_by_step(visit):
    page = visit(reduced_motion="no-preference")
    with page.expect_response("**/predict") as response:
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
    with page.expect_response("**/predict") as response:
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
    page.route("**/predict", lambda route: late.append(route), times=1)  # noqa: PLW0108 - Playwright marks it
    with page.expect_request("**/predict"):
        draw(page, ONE)
    page.get_by_role("button", name="Clear").click()
    draw(page, SEVEN)
    assert answer(page) == "7"
    with page.expect_response("**/predict") as response:
        late[0].continue_()
    assert response.value.json()["class"] == "1"
    assert answer(page) == "7"


def test_a_server_that_does_not_answer_is_told(browser, url):
    page = browser.new_page(reduced_motion="reduce")
    page.goto(url)
    page.context.set_offline(True)
    draw(page, ONE)
    page.get_by_text("No answer: the server does not answer.").wait_for()
    page.context.set_offline(False)
    draw(page, ONE)
    assert answer(page) == "1"
    page.close()


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
