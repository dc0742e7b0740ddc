import re
import shutil

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from lifline.errors import ParamsError
from lifline.params import read_params
from lifline.presets import change_params, preset_values
from lifline.tuning.space import as_params, as_suggested, read_space
from tests.conftest import ROOT, changed


def space_of(params, **space):
    return read_space(
        changed(params, tune={"space": {name.replace("__", "."): entry for name, entry in space.items()}})
    )


def test_each_kind_of_param_has_its_distribution(params):
    assert space_of(
        params,
        network__beta={"low": 0.5, "high": 1},
        train__learning_rate={"low": 1e-4, "high": 1e-2, "log": True},
        network__num_steps={"low": 5, "high": 30},
        train__batch_size={"low": 32, "high": 512, "log": True},
        train__loss=["membrane_ce", "rate_mse"],
        network__layers=[1000, "500-500"],
        network__threshold=[1.0, [0.5, 1]],
        augmentation__flip=[False, True],
    ) == {
        "network.beta": FloatDistribution(0.5, 1),
        "train.learning_rate": FloatDistribution(1e-4, 1e-2, log=True),
        "network.num_steps": IntDistribution(5, 30),
        "train.batch_size": IntDistribution(32, 512, log=True),
        "train.loss": CategoricalDistribution(["membrane_ce", "rate_mse"]),
        "network.layers": CategoricalDistribution(["1000", "500-500"]),
        "network.threshold": CategoricalDistribution([1.0, "[0.5, 1.0]"]),
        "augmentation.flip": CategoricalDistribution([False, True]),
    }


def test_lists_survive_optuna_which_knows_none():
    values = {"network.layers": "500-500", "train.loss": "rate_mse", "network.beta": [0.5, 0.9]}
    assert as_params(as_suggested(values)) == values


@pytest.mark.parametrize("preset", sorted(path.stem for path in (ROOT / "presets").glob("*.yaml")))
def test_each_preset_may_be_tuned(workspace, preset):
    shutil.copy(ROOT / "params.yaml", workspace)
    change_params(preset_values(preset) | {"network.num_steps": 25})
    assert set(read_space(read_params())) == {"network.beta", "network.num_steps", "train.learning_rate"}


def test_the_projects_space_is_beta_learning_rate_and_steps():
    assert set(read_space(read_params(ROOT / "params.yaml"))) == {
        "network.beta",
        "train.learning_rate",
        "network.num_steps",
    }


@pytest.mark.parametrize(
    ("name", "entry", "message"),
    [
        ("network.betta", {"low": 0, "high": 1}, "tune.space.network.betta is unknown (did you mean network.beta?)"),
        ("data.validation_size", {"low": 1, "high": 9}, "tune.space.data.validation_size is unknown; allowed are"),
        ("train.seed", {"low": 1, "high": 9}, "tune.space.train.seed is unknown"),
        (
            "network.beta",
            {"low": 0.9, "high": 0.5},
            "tune.space.network.beta has low 0.9 and high 0.5; allowed is a low",
        ),
        (
            "network.beta",
            {"low": 0.5, "high": 2},
            "tune.space.network.beta: network.beta is 2; allowed is a number from",
        ),
        ("network.beta", {"low": "a", "high": 1}, "tune.space.network.beta: network.beta is 'a'; allowed is a number"),
        ("network.beta", {"low": 0.5}, "allowed is a list of choices, or low and high, and log: true"),
        ("network.beta", {"low": 0.5, "high": 1, "step": 0.1}, "allowed is a list of choices, or low and high"),
        ("network.beta", 0.5, "tune.space.network.beta is 0.5; allowed is a list of choices, or low and high"),
        ("augmentation.flip", {"low": False, "high": True}, "; allowed is a list of choices"),
        ("augmentation.flip", [0, 1], "augmentation.flip is 0; allowed is true, false"),
        ("network.beta", [], "tune.space.network.beta is []; allowed is a list of choices, or low and high"),
        (
            "network.beta",
            {"low": 0, "high": 1, "log": True},
            "has log True and low 0; allowed is true with a low above 0",
        ),
        (
            "network.beta",
            {"low": 0.5, "high": 1, "log": "yes"},
            "has log 'yes' and low 0.5; allowed is true with a low",
        ),
        (
            "network.beta",
            {"low": 0.1, "high": 0.5},
            "is 0.1 to 0.5; it must hold network.beta as it is, 0.95, the first",
        ),
        ("network.num_steps", {"low": 1.5, "high": 30}, "network.num_steps is 1.5; allowed is a whole number from 1"),
        ("train.loss", {"low": 1, "high": 2}, "tune.space.train.loss is {'high': 2, 'low': 1}; allowed is a list of"),
        ("train.loss", ["rate_mse", "hinge"], "tune.space.train.loss: train.loss is 'hinge'; allowed is membrane_ce,"),
        (
            "train.loss",
            {"low": list("abcdefgh")},
            "train.loss is {'low': ['a', 'b', 'c', 'd', 'e', 'f', ...]}; allowed",
        ),
        ("train.loss", ["rate_mse"], "tune.space.train.loss is ['rate_mse']; it must hold train.loss as it is"),
    ],
)
def test_what_cannot_be_searched_is_named(params, name, entry, message):
    with pytest.raises(ParamsError) as raised:
        read_space(changed(params, tune={"space": {name: entry}}))
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def nested(depth):
    """A list that has two to the power of this many elements, each written once, as YAML's aliases let one write it."""
    return ["a"] if depth == 0 else [nested_before := nested(depth - 1), nested_before]


def itself():
    entry = {"low": 0, "high": 1}
    entry["log"] = entry
    return entry


@pytest.mark.parametrize(
    "entry",
    [nested(60), {"low": nested(60), "high": 1}, itself(), [[1] * 200], [b"bytes"], [None], {"low": 0, "high": {1, 2}}],
    ids=["nested choices", "nested low", "itself", "long", "bytes", "nothing", "set"],
)
def test_a_space_of_odd_values_is_named_in_a_short_line(params, entry):
    space = {"network.beta": entry}
    odd = params.model_copy(update={"tune": params.tune.model_copy(update={"space": space})})
    with pytest.raises(ParamsError) as raised:
        read_space(odd)
    assert re.match(r"tune\.space\.network\.beta is .*; allowed is a list of choices, or low and", str(raised.value))
    assert len(str(raised.value)) < 1000


def test_a_name_of_any_length_is_named_in_a_short_line(params):
    with pytest.raises(ParamsError, match=r"tune\.space\.x+\.\.\.x+ is unknown; allowed are network\."):
        space_of(params, **{"x" * 1_000_000: [1]})


def test_a_warm_up_longer_than_a_trial_is_named(params):
    space = {"network.beta": {"low": 0, "high": 1}}
    with pytest.raises(ParamsError, match=r"train\.warmup_epochs is 8\.0; .*, with tune\.epochs in its place"):
        read_space(changed(params, train={"epochs": 10, "warmup_epochs": 8.0}, tune={"space": space, "epochs": 5}))
    space = {"train.warmup_epochs": {"low": 0, "high": 9}}
    with pytest.raises(ParamsError, match=r"tune\.space\.train\.warmup_epochs: train\.warmup_epochs is 9"):
        read_space(changed(params, train={"epochs": 10}, tune={"space": space, "epochs": 5}))


def test_an_empty_space_is_named(params):
    with pytest.raises(ParamsError, match=r"tune\.space is empty; allowed are params by dotted name"):
        space_of(params)
