"""What `lifline preset` does to params.yaml, and how params are known by their recipe."""

import shutil
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from lifline.errors import ParamsError
from lifline.params import all_fields, read_params
from lifline.presets import change_params, nearest_recipe, preset_values, write_preset
from tests.conftest import ROOT, changed

PRESETS = sorted(path.stem for path in (ROOT / "presets").glob("*.yaml"))
NOT_OF_A_RECIPE = {
    "data.test_share", "data.gate_size", "train.seed", "train.device", "tune.epochs", "tune.space",
    "export.formats", "export.max_class_mismatches", "export.max_accuracy_loss",
    "champion.level", "champion.cost", "champion.min_saving", "champion.margin",
}  # fmt: skip


@pytest.fixture
def params_file(workspace) -> Path:
    path = workspace / "params.yaml"
    path.write_text((ROOT / "params.yaml").read_text())
    return path


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_valid_and_names_every_param_of_a_recipe(params_file, name):
    values = preset_values(name)
    assert set(values) == {param for param, _ in all_fields()} - NOT_OF_A_RECIPE
    change_params(values)
    assert read_params() == read_params().with_values(values)


@pytest.mark.parametrize("name", PRESETS)
def test_comments_and_order_stay_and_each_changed_param_is_told_in_a_line(params_file, name):
    before = params_file.read_text().splitlines()
    difference = change_params(preset_values(name)).splitlines()
    after = params_file.read_text().splitlines()
    assert [line.partition("#")[2] for line in after] == [line.partition("#")[2] for line in before]
    assert [line.partition(":")[0] for line in after] == [line.partition(":")[0] for line in before]
    pairs = [pair for pair in zip(before, after, strict=True) if pair[0] != pair[1]]
    values = [[line.partition("#")[0].split() for line in pair] for pair in pairs]
    told = [f"{name} {' '.join(old)} -> {' '.join(new)}" for (name, *old), (_, *new) in values]
    assert sorted(line.partition(".")[2] for line in difference) == sorted(told)


def test_a_change_is_told_with_its_section(params_file):
    assert change_params({"train.epochs": 8, "network.layers": "1000-500"}) == (
        "network.layers: 1000 -> 1000-500\ntrain.epochs: 60 -> 8"
    )


def test_what_is_there_already_is_not_written_anew(params_file):
    change_params(preset_values("tutorial"))
    before = params_file.stat().st_mtime_ns
    assert change_params(preset_values("tutorial")) == ""
    assert params_file.stat().st_mtime_ns == before


def test_a_value_that_is_not_allowed_changes_nothing(params_file):
    before = params_file.read_text()
    with pytest.raises(ParamsError, match=r"network\.beta is 2; allowed"):
        change_params({"train.epochs": 3, "network.beta": 2})
    assert params_file.read_text() == before


def test_layers_are_written_as_they_are(params_file):
    change_params({"network.layers": "800-700"})
    assert "  layers: 800-700             # hidden" in params_file.read_text()


def test_layers_that_yaml_takes_for_a_date_are_written_in_quotes(params_file):
    for layers in ("1000-10-10", "1000-20-10"):
        change_params({"network.layers": layers})
        assert f'  layers: "{layers}"' in params_file.read_text()
        assert read_params().network.layers == layers


@pytest.mark.parametrize("name", ["fast", "tutorial"])
def test_the_way_back_to_the_default_leaves_no_byte_changed(params_file, name):
    committed = params_file.read_bytes()
    assert write_preset(name) != ""
    assert write_preset("default") != ""
    assert params_file.read_bytes() == committed


def test_the_way_back_from_values_that_are_longer_or_written_otherwise_does_too(params_file):
    committed = params_file.read_bytes()
    change_params({
        "train.learning_rate": 0.0012345678901234567,
        "network.layers": "800-800-800-800-800",
        "augmentation.elastic": 1.5,
    })  # fmt: skip
    change_params({"train.learning_rate": 0.001, "augmentation.elastic": 0.75})
    assert "learning_rate: 0.001 " in params_file.read_text()
    assert "train.learning_rate: 0.001 -> 1.0e-3" in write_preset("default")
    assert params_file.read_bytes() == committed
    assert write_preset("default") == ""


def test_a_comment_that_stands_elsewhere_stays_there(params_file):
    params_file.write_text(params_file.read_text().replace("epochs: 60\n", "epochs: 60     # all of them\n"))
    change_params({"train.epochs": 5})
    assert "  epochs: 5      # all of them\n" in params_file.read_text()


def test_a_preset_is_written_from_any_folder_into_the_working_copys_own_params(params_file, lifline, monkeypatch):
    (params_file.parent / "notebooks/deep").mkdir(parents=True)
    monkeypatch.chdir(params_file.parent / "notebooks/deep")
    monkeypatch.setenv("DVC_ROOT", "/elsewhere")  # as in the copy that `dvc exp run --temp` works in
    code, _, err = lifline("preset", "fast")
    assert (code, err) == (0, "")
    assert read_params(params_file).train.epochs == 8


def test_outside_of_a_repository_a_preset_is_not_looked_for(params_file, lifline):
    Path("dvc.yaml").unlink()
    code, _, err = lifline("preset", "fast")
    assert (code, err) == (2, f"error: {Path.cwd()} is not inside a lifline repository: no dvc.yaml here or above\n")


def test_what_is_no_param_of_a_recipe_is_named(params_file):
    before = params_file.read_bytes()
    with pytest.raises(ParamsError, match=r"^tune\.epochs is no param of a recipe; allowed are data\.dataset, "):
        change_params({"network.beta": 0.5, "tune.epochs": 3})
    assert params_file.read_bytes() == before


def test_the_command_prints_what_changed(params_file, lifline):
    code, out, err = lifline("preset", "tutorial")
    assert (code, err) == (0, "")
    assert "network.num_steps: 10 -> 25\n" in out
    assert read_params().network.num_steps == 25
    code, out, _ = lifline("preset", "tutorial")
    assert (code, out) == (0, "params.yaml holds this preset already\n")


def test_a_preset_that_leaves_the_users_own_data_says_how_to_go_back(params_file, lifline):
    shutil.copytree(ROOT / "data/mnist", "data/mnist", dirs_exist_ok=True)
    change_params({"data.dataset": "my pictures", "data.validation_size": 60})
    code, out, err = lifline("preset", "fast")
    assert code == 0
    assert "data.dataset: my pictures -> mnist\n" in out
    assert err == (
        "data.dataset was 'my pictures' and is now 'mnist'; this recipe with your own data: "
        "dvc exp run -S 'data.dataset=my pictures' -S data.validation_size=60\n"
    )
    assert lifline("preset", "fashion")[::2] == (0, "")


def test_an_unknown_preset_is_named_with_those_there_are(params_file, lifline):
    code, out, err = lifline("preset", "tutoral")
    assert (code, out) == (2, "")
    assert err == f"error: preset is 'tutoral'; allowed is one of presets/: {', '.join(PRESETS)}\n"


def test_a_preset_of_the_users_own_is_checked(params_file, lifline):
    for text, message in (
        ("network", "presets/mine.yaml must hold the sections"),
        ("network: 5", "presets/mine.yaml must hold sections of keys and values"),
        ("network: {beta: 7}", "network.beta is 7; allowed is a number from 0 to 1"),
        ("netwrk: {beta: 7}", "netwrk is unknown (did you mean network?); allowed are data, network"),
        ("network: {beta: [}", "presets/mine.yaml is not valid YAML: line 1"),
        ("network: &it {beta: *it}", "presets/mine.yaml holds itself in line 1"),
        ("network: {<<: 5}", "presets/mine.yaml is not valid YAML: line 1: expected a mapping"),
        ("1: {2: 3}", "1 is unknown; allowed are data, network"),
        ("network: {beta: \xff}", "presets/mine.yaml is not valid YAML: 'utf-8'"),
    ):
        Path("presets/mine.yaml").write_bytes(text.encode("latin-1"))
        code, _, err = lifline("preset", "mine")
        assert code == 2
        assert err.startswith(f"error: {message}")
        assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["presett"], "No such command 'presett'"),
        (["preset", "a", "b"], "Got unexpected extra argument(s) (b)"),
        (["preset", "--force"], "No such option: --force"),
    ],
)
def test_a_command_that_is_not_understood_is_one_line(params_file, lifline, arguments, message):
    code, out, err = lifline(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {message}")
    assert err.count("\n") == 1


def test_without_a_params_file_it_says_so(params_file, lifline):
    params_file.unlink()
    code, _, err = lifline("preset", "tutorial")
    assert code == 2
    assert err == "error: params.yaml is missing; stages run in the folder that holds it\n"


def test_without_a_name_the_recipes_are_listed_with_what_their_files_say_first(params_file, lifline):
    before = params_file.read_bytes()
    Path("presets/mine.yaml").write_text("network:\n  beta: 0.5  # no comment on the file\n")
    Path("presets/odd.yaml").write_bytes(b"#  Of \xff.\n")
    Path("presets/folder.yaml").mkdir()
    code, out, err = lifline("preset")
    assert (code, err, params_file.read_bytes()) == (0, "", before)
    told = dict(line.partition(" ")[::2] for line in out.splitlines())
    assert told.keys() == {*PRESETS, "mine", "odd"}
    assert told["fast"].strip() == "98.9 % after 16 seconds of training on 2 cores."
    assert (told["mine"].strip(), told["odd"].strip()) == ("", "Of \ufffd.")


@pytest.mark.parametrize(
    ("text", "changed"),
    [
        ("# before\n---\n{params}...\n", True),
        ("{crlf}", True),
        ("{params}  # a comment that ends the file", True),
        ("{wide}", True),
        ("{quoted}", True),
        ("{block}", True),
        ("{alias}", False),
        ("\ufeff{params}", True),
        ("{merge}", False),
        ("{merged_section}", True),
        ("{twice}", True),
    ],
)
def test_odd_yaml_keeps_its_oddities_or_is_left_alone(params_file, text, changed):
    params = params_file.read_text()
    section = params[params.index("export:") : params.index("\nchampion:")]
    merged = "<<: {export: {formats: [onnx], max_class_mismatches: 0, max_accuracy_loss: 0}}\n"
    written = text.format(
        params=params,
        crlf=params.replace("\n", "\r\n"),
        wide=params.replace("\n  ", "\n        "),
        quoted=params.replace("loss: rate_mse", "'loss': 'rate_mse'"),
        block=params.replace("beta: 0.9", "beta:\n    - 0.9  # first\n    - 0.9\n   "),
        merge=params.replace("  shear: 0.1 ", "  <<: {shear: 0.1}"),
        merged_section=params.replace(section, merged),
        twice=params.replace("beta: 0.9 ", "beta: &it 0.9 ").replace("threshold: 1.0 ", "threshold: &it 1.0 "),
        alias=params.replace("scale: 0.08 ", "scale: &it 0.08 ").replace("shear: 0.1 ", "shear: *it"),
    )
    params_file.write_bytes(written.encode())
    before = read_params().flat()
    values = {"network.layers": "77", "train.loss": "count_ce", "augmentation.shear": 0.25, "train.epochs": 1}
    if changed:
        change_params(values)
        assert read_params().flat() == before | values
        after = params_file.read_bytes().decode()
        kept = ["layers", "loss", "shear", "epochs"]
        rest = [
            [line for line in side.splitlines(keepends=True) if not any(name in line for name in kept)]
            for side in (written, after)
        ]
        assert rest[0] == rest[1]
        assert [line.partition("#")[2] for line in after.splitlines()] == [
            line.partition("#")[2] for line in written.splitlines()
        ]
    else:
        with pytest.raises(ParamsError, match=r"params\.yaml is YAML that cannot be changed value by value"):
            change_params(values)
        assert params_file.read_bytes() == written.encode()


def test_a_linked_params_file_stays_a_link(params_file):
    target = params_file.with_name("elsewhere.yaml")
    params_file.rename(target)
    params_file.symlink_to(target)
    change_params({"train.epochs": 3})
    assert params_file.is_symlink()
    assert read_params(target).train.epochs == 3


def test_presets_are_yaml_with_a_line_about_them():
    for name in PRESETS:
        text = (ROOT / f"presets/{name}.yaml").read_text()
        assert text.startswith("# ")
        assert text.partition("\n")[0].endswith(".")  # `lifline preset` lists it
        assert set(YAML(typ="safe").load(text)) == {"network", "train", "augmentation", "data"}


def test_the_committed_params_are_the_default_recipe(params_file):
    recipe = nearest_recipe(read_params())
    assert (recipe.title(), recipe.differences) == ("default", {})
    assert recipe.describe() == "default"


@pytest.mark.parametrize("preset", ["default", "fast", "tutorial"])
def test_a_recipe_is_known_whatever_the_seed(params_file, preset):
    params = read_params().with_values(preset_values(preset) | {"train.seed": 7})
    assert nearest_recipe(params).title() == preset


def test_what_differs_is_named(params_file, params):
    recipe = nearest_recipe(changed(params, network={"beta": 0.9, "num_steps": 20}))
    assert recipe.title() == "tutorial: beta 0.9, num_steps 20"
    assert recipe.describe() == "tutorial with network.beta 0.9 (not 0.95), network.num_steps 20 (not 25)"


def test_a_title_rounds_what_a_study_has_found(params_file, params):
    found = changed(params, network={"beta": 0.984615641603044})
    assert nearest_recipe(found).title() == "tutorial: beta 0.985"
    assert "0.984615641603044" in nearest_recipe(found).describe()


def test_a_title_stays_short(params_file, params):
    network = {"beta": 0.9, "num_steps": 20, "layers": "800-800", "threshold": 2.0, "surrogate": "fast_sigmoid"}
    recipe = nearest_recipe(changed(params, network=network, train={"learning_rate": 0.002, "batch_size": 64}))
    assert recipe.title() == (
        "tutorial: layers 800-800, beta 0.9, threshold 2.0, num_steps 20, surrogate fast_sigmoid, 2 more"
    )


def test_of_recipes_as_near_the_default_is_taken_and_the_data_set_is_named_first(params_file):
    own = {"data.dataset": "pictures", "data.validation_size": 60, "network.layers": "12C5-MP2-64C5-MP2"}
    trained = {"train.epochs": 30, "train.batch_size": 32, "train.learning_rate": 0.003}
    recipe = nearest_recipe(read_params().with_values(own | trained))
    assert recipe.title() == (
        "default: dataset pictures, layers 12C5-MP2-64C5-MP2, epochs 30, batch_size 32, learning_rate 0.003, 1 more"
    )


def test_of_two_presets_that_fit_the_one_that_says_more_is_taken_and_a_bad_one_is_passed_over(params_file):
    Path("presets/cheap.yaml").write_text("network:\n  beta: 0.9\n")
    for name, text in {"typo": "network:\n  betta: 0.9\n", "bad": "network:\n  beta: high\n", "empty": ""}.items():
        Path(f"presets/{name}.yaml").write_text(text)
    Path("presets/folder.yaml").mkdir()
    assert nearest_recipe(read_params()).title() == "default"


def test_without_presets_there_is_no_recipe(params_file, params):
    shutil.rmtree("presets")
    assert nearest_recipe(params).title() == "no preset"
