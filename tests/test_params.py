from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lifline.errors import ParamsError
from lifline.params import all_fields, describe_field, read_params
from tests.conftest import ROOT, write_tutorial_params

with TemporaryDirectory() as folder:
    write_tutorial_params(Path(folder))
    TEXT = Path(folder, "params.yaml").read_text()


def reading(tmp_path, text) -> str:
    """What is said of a params.yaml with this text."""
    path = tmp_path / "params.yaml"
    path.write_text(text)
    with pytest.raises(ParamsError) as raised:
        read_params(path)
    assert "\n" not in str(raised.value)
    return str(raised.value).replace(str(path), "params.yaml")


def test_the_tutorial_preset_is_the_tutorials_recipe(params):
    assert (params.network.beta, params.network.num_steps, params.network.hidden) == (0.95, 25, [1000])
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
        ("beta: 0.95", "beta: [0.9]", "network.beta is [0.9]; allowed is a number from 0 to 1"),
        ("beta: 0.95", "", "network.beta is missing; allowed is a number from 0 to 1"),
        ("num_steps: 25", "num_steps: 2.5", "network.num_steps is 2.5; allowed is a whole number from 1 to 1000"),
        ("num_steps: 25", "num_steps: 0", "network.num_steps is 0; allowed is a whole number from 1 to 1000"),
        ("threshold: 1.0", "threshold: 0", "network.threshold is 0; allowed is a number above 0 to 1000"),
        ("learning_rate: 0.0005", "learning_rate: 0.0", "train.learning_rate is 0.0; allowed is a number above 0 to 1"),
        ("surrogate: atan", "surrogate: tanh", "network.surrogate is 'tanh'; allowed is atan, spike_operator,"),
        ("validation_size: 5000", "validation_size: 60000", "data.validation_size is 60000; allowed is a whole number"),
        ("beta: 0.95", "betta: 0.95", "network.betta is unknown; allowed are hidden, beta, threshold,"),
        ("network:", "netwrk:", "netwrk is unknown; allowed are data, network, train, augmentation, export, tune"),
        ("  max_class_mismatches: 0", "", "export is None; allowed is a section of keys and values"),
        ("beta: 0.95", "beta: 0.95\n  beta: 0.9", 'is not valid YAML: line 10: found duplicate key "beta"'),
        ("beta: 0.95", "beta: [", "is not valid YAML: line"),
        ("beta: 0.95", "beta: 2024-99-99", "is not valid YAML: month must be in 1..12"),
        ("beta: 0.95", "beta: 0x_", "is not valid YAML: invalid literal for int() with base 16"),
        ("beta: 0.95", f"beta: {'[' * 5000}", "is not valid YAML: maximum recursion depth exceeded"),
        (
            "hidden: [1000]",
            "hidden: 1000",
            "network.hidden is 1000; allowed is a list of 1 to 16, like [1000], each a whole",
        ),
        (
            "hidden: [1000]",
            "hidden: []",
            "network.hidden is []; allowed is a list of 1 to 16, like [1000], each a whole",
        ),
        (
            "hidden: [1000]",
            "hidden: [9, 0]",
            "network.hidden.1 is 0; allowed is a list of 1 to 16, like [1000], each a whole",
        ),
        (
            "warmup_epochs: 0.0",
            "warmup_epochs: 1.5",
            "train.warmup_epochs is 1.5; allowed is a number from 0 to train.ep",
        ),
        ("scale: 0.0", "scale: 1", "augmentation.scale is 1; allowed is a number from 0 to below 1"),
        (TEXT, "", "must hold the sections data, network, train, augmentation, export, tune"),
        (TEXT, "- beta", "must hold the sections data, network, train, augmentation, export, tune"),
    ],
)
def test_what_is_not_allowed_is_named_with_what_is(tmp_path, old, new, message):
    assert old in TEXT
    assert message in reading(tmp_path, TEXT.replace(old, new))


def test_several_problems_are_counted(tmp_path):
    text = TEXT.replace("beta: 0.95", "beta: 2").replace("epochs: 1", "epochs: 0")
    assert reading(tmp_path, text).endswith("(and 1 more)")


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
    assert list(params.flat()) == [name for name, _ in all_fields() if not name.startswith("tune.")]


def test_values_are_replaced_by_name(params):
    assert params.with_values({"train.seed": 5, "network.beta": 0.5}).flat() == params.flat() | {
        "train.seed": 5,
        "network.beta": 0.5,
    }
    with pytest.raises(ParamsError, match=r"^network\.beta is 2; allowed is a number from 0 to 1$"):
        params.with_values({"network.beta": 2})
    with pytest.raises(ParamsError, match=r"^network\.betta is unknown"):
        params.with_values({"network.betta": 0.5})
    with pytest.raises(ParamsError, match=r"^netwrk is unknown"):
        params.with_values({"netwrk.beta": 0.5})


def test_the_readme_describes_every_param_with_its_default():
    params = read_params(ROOT / "params.yaml")
    readme = (ROOT / "README.md").read_text()
    defaults = params.flat() | {"tune.epochs": params.tune.epochs, "tune.space": "above"}
    for name, field in all_fields():
        row = f"| `{name}` | {defaults[name]} | {describe_field(field)} | {field.description} |"
        assert row in readme
