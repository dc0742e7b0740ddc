"""What `lifline preset` does to params.yaml."""

from pathlib import Path

import pytest
from ruamel.yaml import YAML

from lifline import cli
from lifline.errors import ParamsError
from lifline.params import all_fields, read_params
from lifline.presets import change_params, preset_values
from tests.conftest import ROOT

PRESETS = sorted(path.stem for path in (ROOT / "presets").glob("*.yaml"))
NOT_OF_A_RECIPE = {
    "train.seed", "train.device", "export.max_class_mismatches", "tune.epochs", "tune.space",
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
    assert read_params().flat().items() >= values.items()


@pytest.mark.parametrize("name", PRESETS)
def test_comments_and_order_stay_and_the_diff_shows_the_rest(params_file, name):
    before = params_file.read_text().splitlines()
    difference = change_params(preset_values(name)).splitlines()
    after = params_file.read_text().splitlines()
    assert [line.partition("#")[2] for line in after] == [line.partition("#")[2] for line in before]
    assert [line.partition(":")[0] for line in after] == [line.partition(":")[0] for line in before]
    pairs = [pair for pair in zip(before, after, strict=True) if pair[0] != pair[1]]
    assert sorted(line[1:] for line in difference if line.startswith("-") and "params.yaml" not in line) == sorted(
        old for old, _ in pairs
    )
    assert sorted(line[1:] for line in difference if line.startswith("+") and "params.yaml" not in line) == sorted(
        new for _, new in pairs
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


def test_a_list_is_written_in_a_line(params_file):
    change_params({"network.hidden": [800, 700]})
    assert "  hidden: [800, 700]  " in params_file.read_text()


def command(monkeypatch, capsys, *arguments):
    monkeypatch.setattr("sys.argv", ["lifline", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return ended.value.code, *capsys.readouterr()


def test_the_command_prints_the_diff(params_file, monkeypatch, capsys):
    code, out, err = command(monkeypatch, capsys, "preset", "tutorial")
    assert (code, err) == (0, "")
    assert "+  num_steps: 25 " in out
    assert read_params().network.num_steps == 25
    code, out, _ = command(monkeypatch, capsys, "preset", "tutorial")
    assert (code, out) == (0, "params.yaml holds this preset already\n")


def test_an_unknown_preset_is_named_with_those_there_are(params_file, monkeypatch, capsys):
    code, out, err = command(monkeypatch, capsys, "preset", "tutoral")
    assert (code, out) == (2, "")
    assert err == f"error: preset is 'tutoral'; allowed is one of presets/: {', '.join(PRESETS)}\n"


def test_a_preset_of_the_users_own_is_checked(params_file, monkeypatch, capsys):
    for text, message in (
        ("network", "presets/mine.yaml must hold the sections"),
        ("network: 5", "presets/mine.yaml must hold sections of keys and values"),
        ("network: {beta: 7}", "network.beta is 7; allowed is a number from 0 to 1"),
        ("netwrk: {beta: 7}", "netwrk is unknown; allowed are data, network"),
        ("network: {beta: [}", "presets/mine.yaml is not valid YAML: line 1"),
        ("network: {beta: \xff}", "presets/mine.yaml is not valid YAML: 'utf-8'"),
    ):
        Path("presets/mine.yaml").write_bytes(text.encode("latin-1"))
        code, _, err = command(monkeypatch, capsys, "preset", "mine")
        assert code == 2
        assert err.startswith(f"error: {message}")
        assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Missing command"),
        (["presett"], "No such command 'presett'"),
        (["preset"], "Missing argument 'NAME'"),
        (["preset", "a", "b"], "Got unexpected extra argument(s) (b)"),
        (["preset", "--force"], "No such option: --force"),
    ],
)
def test_a_command_that_is_not_understood_is_one_line(params_file, monkeypatch, capsys, arguments, message):
    code, out, err = command(monkeypatch, capsys, *arguments)
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {message}")
    assert err.count("\n") == 1


def test_without_a_params_file_it_says_so(params_file, monkeypatch, capsys):
    params_file.unlink()
    code, _, err = command(monkeypatch, capsys, "preset", "tutorial")
    assert code == 2
    assert err == "error: params.yaml is missing; stages run in the folder that holds it\n"


def test_help_names_each_preset(params_file, monkeypatch, capsys):
    code, out, _ = command(monkeypatch, capsys, "preset", "--help")
    assert code == 0
    assert f"Write a recipe into params.yaml: {', '.join(PRESETS)}." in out


@pytest.mark.parametrize(
    ("text", "changed"),
    [
        ("# before\n---\n{params}...\n", True),
        ("{crlf}", True),
        ("{params}  # a comment that ends the file", True),
        ("{wide}", True),
        ("{quoted}", True),
        ("{block}", False),
        ("{alias}", False),
    ],
)
def test_odd_yaml_keeps_its_oddities_or_is_left_alone(params_file, text, changed):
    params = params_file.read_text()
    written = text.format(
        params=params,
        crlf=params.replace("\n", "\r\n"),
        wide=params.replace("\n  ", "\n        "),
        quoted=params.replace("loss: rate_mse", "'loss': 'rate_mse'"),
        block=params.replace("hidden: [1000]", "hidden:\n    - 1000  # first\n   "),
        alias=params.replace("scale: 0.08 ", "scale: &it 0.08 ").replace("shear: 0.1 ", "shear: *it"),
    )
    params_file.write_bytes(written.encode())
    before = read_params().flat()
    values = {"network.hidden": [77], "train.loss": "count_ce", "augmentation.shear": 0.25, "train.epochs": 1}
    if changed:
        change_params(values)
        assert read_params().flat() == before | values
        after = params_file.read_bytes().decode()
        kept = ["hidden", "loss", "shear", "epochs"]
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
        assert set(YAML(typ="safe").load(text)) == {"network", "train", "augmentation", "data"}
