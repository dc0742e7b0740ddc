import shutil

import pytest

from lifline.params import read_params
from lifline.presets import nearest_recipe, preset_values
from tests.conftest import ROOT, changed


@pytest.fixture
def repository(tmp_path, monkeypatch):
    for name in ("params.yaml", "presets"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_committed_params_are_the_default_recipe(repository):
    recipe = nearest_recipe(read_params())
    assert (recipe.title(), recipe.differences) == ("default", {})
    assert recipe.describe() == "default"


@pytest.mark.parametrize("preset", ["default", "fast", "tutorial"])
def test_a_recipe_is_known_whatever_the_seed(repository, preset):
    params = read_params().with_values(preset_values(preset) | {"train.seed": 7})
    assert nearest_recipe(params).title() == preset


def test_what_differs_is_named(repository, params):
    recipe = nearest_recipe(changed(params, network={"beta": 0.9, "num_steps": 20}))
    assert recipe.title() == "tutorial: beta 0.9, num_steps 20"
    assert recipe.describe() == "tutorial with network.beta 0.9 (not 0.95), network.num_steps 20 (not 25)"


def test_a_title_stays_short(repository, params):
    network = {"beta": 0.9, "num_steps": 20, "hidden": [800, 800], "threshold": 2.0, "surrogate": "fast_sigmoid"}
    assert nearest_recipe(changed(params, network=network)).title() == (
        "tutorial: hidden [800, 800], beta 0.9, threshold 2.0, 2 more"
    )


def test_of_two_presets_that_fit_the_one_that_says_more_is_taken_and_a_bad_one_is_passed_over(repository):
    (repository / "presets/cheap.yaml").write_text("network:\n  beta: 0.9\n")
    for name, text in {"typo": "network:\n  betta: 0.9\n", "bad": "network:\n  beta: high\n", "empty": ""}.items():
        (repository / f"presets/{name}.yaml").write_text(text)
    assert nearest_recipe(read_params()).title() == "default"


def test_without_presets_there_is_no_recipe(repository, params):
    shutil.rmtree("presets")
    assert nearest_recipe(params).title() == "no preset"
