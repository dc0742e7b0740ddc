from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml.compat import ordereddict

from lifline.errors import ParamsError
from lifline.params import all_fields, read_params
from lifline.params.document import parse_yaml
from tests.conftest import write_tutorial_params

with TemporaryDirectory() as folder:
    write_tutorial_params(Path(folder))
    TEXT = Path(folder, "params.yaml").read_text()


FORMATS = "formats: [onnx, nir, integer]"
EXPORT = TEXT[TEXT.index("export:") + len("export:") : TEXT.index("\nchampion:")]
"""The section's keys and values."""


def reading(tmp_path, text) -> str:
    """What is said of a params.yaml with this text."""
    path = tmp_path / "params.yaml"
    path.write_text(text)
    with pytest.raises(ParamsError) as raised:
        read_params(path)
    assert "\n" not in str(raised.value)
    return str(raised.value).replace(str(path), "params.yaml")


def test_the_tutorial_preset_is_the_tutorials_recipe(params):
    assert (params.network.beta, params.network.num_steps, params.network.layers) == (0.95, 25, "1000")
    assert (params.train.learning_rate, params.train.batch_size, params.train.epochs) == (5e-4, 128, 1)
    assert (params.train.loss, params.network.decoding, params.network.surrogate) == ("membrane_ce", "rate", "atan")
    assert (params.train.schedule, params.train.warmup_epochs) == ("constant", 0)
    assert set(params.augmentation.model_dump().values()) == {0}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("beta: 0.95", "beta: 1.5", "network.beta is 1.5; allowed is a number from 0 to 1"),
        ("beta: 0.95", "beta: -0.1", "network.beta is -0.1; allowed is a number from 0 to 1"),
        ("beta: 0.95", "beta: .nan", "network.beta is nan; allowed is a number from 0 to 1"),
        ("beta: 0.95", "beta: .inf", "network.beta is inf; allowed is a number from 0 to 1"),
        ("beta: 0.95", "beta: high", "network.beta is 'high'; allowed is a number from 0 to 1"),
        ("beta: 0.95", "beta: true", "network.beta is True; allowed is a number from 0 to 1"),
        ("beta: 0.95", "beta:", "network.beta is None; allowed is a number from 0 to 1"),
        ("beta: 0.95", "beta: [0.9]", "network.beta has 1 values; allowed is one, or 2: one for"),
        ("beta: 0.95", "", "network.beta is missing; allowed is a number from 0 to 1"),
        ("num_steps: 25", "num_steps: 2.5", "network.num_steps is 2.5; allowed is a whole number from 1 to 1000"),
        ("num_steps: 25", "num_steps: 0", "network.num_steps is 0; allowed is a whole number from 1 to 1000"),
        ("threshold: 1.0", "threshold: 0", "network.threshold is 0; allowed is a number from 0.001 to 1000"),
        ("learning_rate: 0.0005", "learning_rate: 0.0", "train.learning_rate is 0.0; allowed is a number above 0 to 1"),
        ("surrogate: atan", "surrogate: tanh", "network.surrogate is 'tanh'; allowed is atan, spike_operator,"),
        ("validation_size: 5000", "validation_size: 0", "data.validation_size is 0; allowed is a whole number"),
        ("beta: 0.95", "betta: 0.95", "network.betta is unknown (did you mean beta?); allowed are layers, beta,"),
        (
            "network:",
            "netwrk:",
            "netwrk is unknown (did you mean network?); allowed are data, network, train,",
        ),
        (
            "formats: [onnx, nir, integer]",
            "formats: [nir]",
            "export.formats is ['nir']; allowed is a list of some of onnx",
        ),
        (FORMATS, "formats: [onnx, onnx]", "each once, and onnx among them"),
        (FORMATS, "formats: [onnx, nri]", "export.formats is 'nri'; allowed is a list of some"),
        (
            "formats: [onnx, nir, integer]",
            "formats: onnx",
            "export.formats is 'onnx'; allowed is a list of some of onnx",
        ),
        (
            "max_accuracy_loss: 0.002",
            "max_accuracy_loss: 2",
            "export.max_accuracy_loss is 2; allowed is a number from 0 to 1",
        ),
        (EXPORT, "", "export is None; allowed is a section of keys and values"),
        ("beta: 0.95", "beta: 0.95\n  beta: 0.9", 'is not valid YAML: line 13: found duplicate key "beta"'),
        ("beta: 0.95", "beta: [", "is not valid YAML: line"),
        ("beta: 0.95", "beta: 2024-99-99", "is not valid YAML: month must be in 1..12"),
        ("beta: 0.95", "beta: 0x_", "is not valid YAML: invalid literal for int() with base 16"),
        ("layers: 1000", "layers: []", "network.layers is []; allowed is parts joined by -: 1000 (that many neurons)"),
        ("layers: 1000", "layers: true", "network.layers is True; allowed is parts joined by -"),
        ("layers: 1000", "layers: 0", "network.layers is '0': '0', part 1, is no layer; allowed are parts joined by -"),
        ("layers: 1000", "hidden: [800, 700]", "network.layers, such as 1000 or 800-800; write layers: 800-700"),
        (
            "layers: 1000",
            "layers: 1000-10-10",
            "network.layers is 1000-10-10, which YAML takes for a date; write it in quotes",
        ),
        ("layers: 1000", "hidden: []", "such as 1000 or 800-800; write layers: 1000"),
        ("layers: 1000", "layers: 9-0", "network.layers is '9-0': '0', part 2, is no layer"),
        ("beta: 0.95", "beta: [0.5, 1.5]", "network.beta is [0.5, 1.5]; allowed is a number from 0 to 1, or a list of"),
        ("beta: 0.95", "beta: []", "network.beta has 0 values; allowed is one, or 2"),
        ("threshold: 1.0", "threshold: [1, 1, 1]", "network.threshold has 3 values; allowed is one, or 2"),
        ("learn_beta: false", "learn_beta: 1", "network.learn_beta is 1; allowed is true, false"),
        (
            "warmup_epochs: 0.0",
            "warmup_epochs: 1.5",
            "train.warmup_epochs is 1.5; allowed is a number from 0 to train.ep",
        ),
        ("centre_inputs: false", "centre_inputs: 1", "train.centre_inputs is 1; allowed is true, false"),
        ("coding: constant", "coding: delta", "network.coding is 'delta'; allowed is constant, latency, rate"),
        ("flip: false", "flip: 1", "augmentation.flip is 1; allowed is true, false"),
        ("flip: false", "flip: 'true'", "augmentation.flip is 'true'; allowed is true, false"),
        ("flip: false", "flip: yes", "augmentation.flip is 'yes'; allowed is true, false"),
        ("flip: false", "flip:", "augmentation.flip is None; allowed is true, false"),
        ("flip: false", "", "augmentation.flip is missing; allowed is true, false"),
        ("shift: 0.0", "shift: 513", "augmentation.shift is 513; allowed is a number from 0 to 512"),
        ("scale: 0.0", "scale: 1", "augmentation.scale is 1; allowed is a number from 0 to below 1"),
        (TEXT, "", "must hold the sections data, network, train, augmentation, export, champion, tune"),
        (TEXT, "- beta", "must hold the sections data, network, train, augmentation, export, champion, tune"),
    ],
)
def test_what_is_not_allowed_is_named_with_what_is(tmp_path, old, new, message):
    assert old in TEXT
    assert message in reading(tmp_path, TEXT.replace(old, new))


NESTED = "[" * 30 + "]" * 30
DOUBLED = "".join(f"x{level + 1}: &x{level + 1} [*x{level}, *x{level}]\n" for level in range(15))
MERGED = "".join(f"x{level + 1}: &x{level + 1} {{<<: [*x{level}, *x{level}]}}\n" for level in range(18))
CHAINED = "".join(f"x{level + 1}: &x{level + 1} [*x{level}]\n" for level in range(2000))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("beta: 0.95", "beta: !!bool maybe", "is not valid YAML: a value is not what its tag says: 'maybe'"),
        ("beta: 0.95", "beta: !!int x", "is not valid YAML: invalid literal for int()"),
        ("beta: 0.95", "beta: !!int ''", "is not valid YAML: a value is not what its tag says"),
        ("beta: 0.95", "beta: !!float x", "is not valid YAML: could not convert string to float"),
        ("beta: 0.95", "beta: !!timestamp x", "is not valid YAML: line 12: failed to construct timestamp"),
        ("beta: 0.95", "beta: 2024-01-01", "network.beta is datetime.date(2024, 1, 1); allowed is a number from 0"),
        ("beta: 0.95", "beta: !!binary x", "is not valid YAML: line 12: failed to decode base64 data"),
        ("beta: 0.95", "beta: !!binary aGVsbG8=", "network.beta is b'hello'; allowed is a number from 0 to 1"),
        ("beta: 0.95", "beta: !!python/object/apply:os.abort []", "line 12: could not determine a constructor for the"),
        ("beta: 0.95", "beta: !own 0.9", "line 12: could not determine a constructor for the tag '!own'"),
        ("beta: 0.95", "beta: !!set {a}", "network.beta is {'a'}; allowed is a number from 0 to 1"),
        ("beta: 0.95", "beta: !!omap [a: 1]", f"network.beta is {ordereddict(a=1)}; allowed is a number from 0"),
        ("beta: 0.95", "beta: !!omap 5", "is not valid YAML: line 12: expected a sequence, but found scalar"),
        ("beta: 0.95", "beta: &it [*it]", "holds itself in line 12"),
        ("network:", "network: &it\n  it: *it", "holds itself in line 10"),
        ("network:", "network: &it\n  <<: *it", "holds itself in line 10"),
        ("  space:", "  space: &it\n    it: *it", "holds itself in line 57"),
        ("beta: 0.95", "beta: *it", "is not valid YAML: line 12: found undefined alias 'it'"),
        ("beta: 0.95", "<<: 5", "is not valid YAML: line 12: expected a mapping or list of mappings for merging"),
        ("beta: 0.95", "beta: <<", "is not valid YAML: line 12: could not determine a constructor"),
        ("beta: 0.95", "beta: =", "is not valid YAML: line 12: could not determine a constructor"),
        ("data:", f"x0: &x0 [1]\n{DOUBLED}data:", "holds more than 2000 values in line 14 with"),
        ("data:", f"x0: &x0 {{y: 1}}\n{MERGED}data:", "holds more than 2000 values in line 13 with"),
        ("data:", f"x0: &x0 [1]\n{CHAINED}data:", "is nested deeper than 20 levels in line 24"),
        ("beta: 0.95", f"beta: {NESTED}", "is nested deeper than 20 levels in line 12"),
        (
            "    network.beta:",
            f"    network.x: {NESTED}\n    network.beta:",
            "is nested deeper than 20 levels in line 58",
        ),
        ("beta: 0.95", f"beta: {'[' * 5000}", "is nested deeper than 20 levels"),
        ("beta: 0.95", f"beta: {'- ' * 5000}", "is not valid YAML: line 12"),
        ("num_steps: 25", f"num_steps: 0x{'f' * 5000}", "has a value of 5002 characters in line 15; allowed are 1000"),
        ("num_steps: 25", f"num_steps: 0x{'f' * 900}", "network.num_steps is "),
        ("num_steps: 25", f"num_steps: {'9' * 900}", "network.num_steps is 9999"),
        ("num_steps: 25", "num_steps: 25.0", "network.num_steps is 25.0; allowed is a whole number from 1 to 1000"),
        ("num_steps: 25", "num_steps: .inf", "network.num_steps is inf; allowed is a whole number from 1 to 1000"),
        ("num_steps: 25", "num_steps: 1e400", "network.num_steps is inf; allowed is a whole number from 1 to 1000"),
        ("beta: 0.95", f"beta: {'9' * 900}", "network.beta is 9999"),
        ("surrogate: atan", f"surrogate: {'x' * 900}", "network.surrogate is 'xxxx"),
        ("layers: 1000", f"hidden: [{'9, ' * 300}]", "write layers: 9-9-9-9-9"),
        ("layers: 1000", f"layers: {'9-' * 300}9", "network.layers has 301 layers; allowed are 1 to 16"),
        ("beta: 0.95", f"{'b' * 900}: 0.95", "bbb is unknown; allowed are layers, beta,"),
        ("beta: 0.95", f"1: {'x' * 800}\n  1: {'y' * 800}", "is not valid YAML: line 13: found duplicate key"),
        ("beta: 0.95", "1: 0.95", "network.1 is unknown; allowed are layers, beta,"),
        ("beta: 0.95", "~: 0.95", "network.None is unknown; allowed are layers, beta,"),
        ("beta: 0.95", "? [a, b]\n  : 0.95", "network.('a', 'b') is unknown; allowed are layers, beta,"),
        ("beta: 0.95", "? {a: b}\n  : 0.95", "is not valid YAML: line 12: found unhashable key"),
        ("data:", '"\\e[31m\\n": 1\ndata:', r"'\x1b[31m\n' is unknown; allowed are data, network"),
        ("    network.beta:", "    5:", "tune.space.5"),
        ("  beta", "\tbeta", r"is not valid YAML: line 12: found character '\t' that cannot start any token"),
        ("beta", "be\0ta", "is not valid YAML: unacceptable character #x0000: special characters are not allowed in"),
        ("beta: 0.95", 'beta: "\\ud800"', r"network.beta is '\ud800'; allowed is a number from 0 to 1"),
        ("beta: 0.95", 'beta: "\\xZZ"', "is not valid YAML: line 12: expected escape sequence"),
        (TEXT, f"{TEXT}---\n{TEXT}", "is not valid YAML: line 61: but found another document"),
        (TEXT, f"%YAML 9.9\n---\n{TEXT}", "is not valid YAML: line 1: found incompatible YAML document"),
        (TEXT, f"{TEXT}#{'x' * 100_000}", "has more than 100000 bytes"),
        (TEXT, "# nothing", "must hold the sections data, network"),
        (TEXT, "~", "must hold the sections data, network"),
        (TEXT, "!!set {data, network}", "must hold the sections data, network"),
        (TEXT, "...", "is not valid YAML: line 1"),
    ],
)
def test_yaml_that_is_no_params_is_told_in_a_short_line(tmp_path, old, new, message):
    assert old in TEXT
    said = reading(tmp_path, TEXT.replace(old, new, 1))
    assert message in said
    assert len(said) < 700


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (TEXT, "\ufeff" + TEXT),
        (TEXT, "%YAML 1.1\n---\n" + TEXT.replace("0.0005", "5e-4")),
        ("beta: 0.95", "<<: {beta: 0.95}"),
        ("beta: 0.95\n", "beta: &it 0.95\n"),
        ("shear: 0.0", "shear: &it 0.0\n  <<: &it {}"),
    ],
)
def test_unusual_yaml_is_read_without_a_warning(tmp_path, recwarn, old, new):
    path = tmp_path / "params.yaml"
    path.write_text(TEXT.replace(old, new, 1))
    assert read_params(path).network.beta == 0.95
    assert not recwarn.list


def test_a_folder_in_place_of_the_file_is_named(tmp_path):
    (tmp_path / "params.yaml").mkdir()
    with pytest.raises(ParamsError, match=r"params\.yaml cannot be read: Is a directory$"):
        read_params(tmp_path / "params.yaml")


@given(content=st.binary(max_size=200) | st.text("[]{}&*!<:-?|>=#%@'\"\\\n a1~,", max_size=60).map(str.encode))
def test_whatever_a_file_holds_it_is_read_or_told_in_a_line(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("params") / "params.yaml"
    path.write_bytes(content)
    with pytest.raises(ParamsError) as raised:
        read_params(path)
    assert "\n" not in str(raised.value)


def test_several_problems_are_counted(tmp_path):
    text = TEXT.replace("beta: 0.95", "beta: 2").replace("epochs: 1", "epochs: 0")
    assert reading(tmp_path, text).endswith("; 1 more mistake")
    assert reading(tmp_path, text.replace("seed: 42", "seed: -1")).endswith("; 2 more mistakes")


def test_a_typo_and_what_it_leaves_missing_are_one_mistake(tmp_path):
    typo = TEXT.replace("beta: 0.95", "bta: 0.95")
    assert "more" not in reading(tmp_path, typo)
    assert reading(tmp_path, typo.replace("epochs: 1", "epochs: 0")).endswith("; 1 more mistake")
    assert reading(tmp_path, typo.replace("threshold:", "treshold:")).endswith("; 1 more mistake")


def test_a_typo_beside_the_param_itself_hides_no_mistake_of_that(tmp_path):
    text = TEXT.replace("epochs: 1", "epoch: 3\n  epochs: 0")
    assert reading(tmp_path, text).endswith("; 1 more mistake")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ParamsError, match=r"none\.yaml is missing"):
        read_params(tmp_path / "none.yaml")


def test_bytes_that_are_no_text_are_refused(tmp_path):
    (tmp_path / "params.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ParamsError, match="is not valid YAML"):
        read_params(tmp_path / "params.yaml")


@pytest.mark.parametrize("written", ["5e-4", "0.0005", "5.0E-04"])
def test_a_number_may_be_written_in_any_usual_way(tmp_path, written):
    path = tmp_path / "params.yaml"
    path.write_text(TEXT.replace("0.0005", written))
    assert read_params(path).train.learning_rate == 5e-4


@given(value=st.floats(allow_nan=True, allow_infinity=True))
def test_beta_is_taken_in_its_range_and_nowhere_else(tmp_path_factory, value):
    path = tmp_path_factory.mktemp("params") / "params.yaml"
    path.write_text(TEXT.replace("0.95", str(value).replace("nan", ".nan").replace("inf", ".inf")))
    if 0 <= value <= 1:
        assert read_params(path).network.beta == value
    else:
        with pytest.raises(ParamsError, match=r"network\.beta is "):
            read_params(path)


def test_params_cannot_be_changed(params):
    with pytest.raises(ValueError, match="frozen"):
        params.network.beta = 0.5


def test_flat_names_are_all_params(params):
    assert list(params.flat()) == [name for name, _ in all_fields() if not name.startswith(("champion.", "tune."))]


def test_values_are_replaced_by_name(params):
    assert params.with_values({"train.seed": 5, "network.beta": 0.5}).flat() == params.flat() | {
        "train.seed": 5,
        "network.beta": 0.5,
    }
    with pytest.raises(
        ParamsError, match=r"^network\.beta is 2; allowed is a number from 0 to 1, or a list of such, one a layer$"
    ):
        params.with_values({"network.beta": 2})
    with pytest.raises(ParamsError, match=r"^network\.betta is unknown"):
        params.with_values({"network.betta": 0.5})
    with pytest.raises(ParamsError, match=r"^netwrk is unknown"):
        params.with_values({"netwrk.beta": 0.5})


def test_inputs_are_centred_by_pixels_not_by_the_times_of_their_spikes(tmp_path):
    centred = TEXT.replace("centre_inputs: false", "centre_inputs: true")
    message = "train.centre_inputs is true; allowed is false where network.coding is latency"
    assert message in reading(tmp_path, centred.replace("coding: constant", "coding: latency"))


def test_values_that_were_changed_are_not_those_of_the_next_reading():
    first = parse_yaml(b"a: {b: [1, 2]}")
    first["a"]["b"].append(3)
    assert parse_yaml(b"a: {b: [1, 2]}") == {"a": {"b": [1, 2]}}
