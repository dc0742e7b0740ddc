"""The page of `dvc plots`, as `.dvc/config` has it drawn."""

import configparser

import pytest
from dvc_render.html import HTML

from tests.conftest import ROOT

SCRIPT = '<script src="https://scripts.example.org/vega-embed.js"></script>'
WIDE = "<svg xmlns=%22http://www.w3.org/2000/svg%22 width=%225000%22 height=%22900%22/>"
PICTURE = f'<img src="data:image/svg+xml,{WIDE}">'


@pytest.mark.slow
@pytest.mark.parametrize("reached", [True, False])
def test_it_says_where_curves_cannot_be_drawn_and_pictures_fit(browser, reached):
    config = configparser.ConfigParser()
    config.read(ROOT / ".dvc/config")
    template = (ROOT / ".dvc" / config["plots"]["html_template"]).read_text()
    page = browser.new_page(viewport={"width": 900, "height": 600})
    answer = {"body": "function vegaEmbed() {}", "content_type": "text/javascript"}
    page.route("**/*.js", lambda route: route.fulfill(**answer) if reached else route.abort())
    page.set_content(HTML(template).with_scripts(SCRIPT).with_element(PICTURE).embed())
    assert page.get_by_text("Curves are not drawn").is_visible() == (not reached)
    assert page.locator("img").bounding_box()["width"] <= 900
    page.close()
