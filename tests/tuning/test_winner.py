"""`lifline studies` and `promote`: of trials that no one trained, since only what the study says of them counts."""

import optuna
import pytest

from lifline.errors import TuningError
from lifline.params import read_params
from lifline.presets import change_params
from lifline.tuning.journal import JournalStore
from lifline.tuning.study import DEFINITION, TRAINED, next_trial, open_study
from lifline.tuning.winner import find_study, winner
from tests.tuning.studies import DATA


def make_study(*values, cost=None, trained=True):
    """A study whose trials have these values."""
    params = read_params()
    study = open_study(JournalStore(), params, DATA, cost, None)
    for each in values:
        tell(study, each, trained)
    return study


def tell(study, values, trained=True):
    trial = next_trial(study, read_params(), 100, "a driver")
    if trained:
        trial.set_user_attr(TRAINED, True)
    study.tell(trial, values)


def test_promote_writes_the_winner_and_nothing_else(ready, command):
    study = make_study(0.5, 0.7, 0.6)
    before = read_params().flat()
    code, out, err = command("promote", "--trial", "2")
    assert (code, err) == (0, "")
    assert read_params().flat() == before | study.trials[2].params
    assert f"trial 2 of study {study.study_name}; `dvc repro` runs the pipeline" in out
    assert "note: " not in out
    assert "network.beta: " in out
    change_params({"train.epochs": 3})
    code, out, _ = command("promote")
    assert (code, out.splitlines()[-1][:32]) == (0, "note: its trials had 2 epochs; w")
    assert read_params().flat() == before | study.trials[1].params | {"train.epochs": 3}
    change_params({"network.threshold": 2.0})
    assert "note: the study had network.threshold 1.0; params.yaml has 2.0" in command("promote")[1]


def test_promote_does_not_say_so_of_other_params_than_trial_0_had(ready, command):
    make_study(0.7, 0.5)
    change_params({"network.threshold": 2.0})
    assert "found nothing better" not in command("promote")[1]


def test_promote_says_where_the_study_found_nothing_better(ready, command):
    study = make_study(0.7, 0.5)
    code, out, err = command("promote")
    assert (code, err) == (0, "")
    assert out.splitlines()[0] == (
        f"study {study.study_name} found nothing better than the params in params.yaml, which are its trial 0"
    )
    assert "dvc repro" not in out
    command("promote", "--trial", "1")
    assert command("promote", "--trial", "1")[1].startswith("params.yaml holds these params already\ntrial 1 ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--trial", "9"], "trial is 9; allowed of study NAME are 0, 1, which are complete"),
        (["--max-cost", "3"], "--min-accuracy and --max-cost choose from a front: a study with --cost, and without"),
        (["--study", "none"], "study is 'none'; allowed are NAME"),
    ],
)
def test_what_cannot_be_promoted_is_named(ready, command, arguments, message):
    study = make_study(0.5, 0.7)
    code, _, err = command("promote", *arguments)
    assert code == 2
    assert err.startswith(f"error: {message.replace('NAME', study.study_name)}")


def test_without_a_study_there_is_nothing_to_promote(ready, command):
    assert command("promote")[::2] == (2, "error: there is no study; `lifline tune` makes one\n")
    assert command("studies") == (0, "there is no study in optuna.journal; `lifline tune` makes one\n", "")


def test_trials_from_before_there_was_the_mark_are_lifline_s_where_it_drove_them(ready, command):
    params = read_params()
    definition = open_study(JournalStore(), params, DATA, None, "new").user_attrs[DEFINITION]
    study = optuna.create_study(storage=JournalStore().optuna, study_name="former", direction="maximize")
    study.set_user_attr(DEFINITION, definition)
    tell(study, 0.5, trained=False)
    tell(study, 0.7, trained=False)
    study.add_trial(optuna.create_trial(value=0.999))
    assert command("promote", "--study", "former")[0] == 0
    assert winner(study, None, None, None).number == 1
    assert "without a mark that lifline trained it: trial 2 (99.90%)\n" in command("studies")[1]
    study = open_study(JournalStore(), params, DATA, None, "former")
    tell(study, 0.8, trained=False)
    assert winner(study, None, None, None).number == 1
    tell(study, 0.75)
    assert winner(open_study(JournalStore(), params, DATA, None, "former"), None, None, None).number == 4
    assert "it: trial 2 (99.90%), 3 (80.00%)\n" in command("studies")[1]


def test_a_trial_that_another_program_told_is_taken_by_its_number_alone(ready, command):
    study = make_study(0.999, trained=False)
    code, _, err = command("promote")
    assert (code, err) == (
        2,
        f"error: no trial of study {study.study_name} has the mark that lifline trained it; --trial 0 takes one all "
        "the same\n",
    )
    assert "; best none yet; without a mark that lifline trained it: trial 0 (99.90%)\n" in command("studies")[1]
    tell(study, 0.7)
    assert "; best trial 1: accuracy 70.00%; without a mark that lifline" in command("studies")[1]
    code, out, _ = command("promote")
    assert code == 0
    assert "note: without a mark that lifline trained it: trial 0 (99.90%); --trial alone takes one of these\n" in out
    assert f"trial 1 of study {study.study_name}" in out
    assert read_params().network.beta == study.trials[1].params["network.beta"]
    code, out, _ = command("promote", "--trial", "0")
    assert code == 0
    assert "note: without a mark that lifline trained it" in out
    assert read_params().network.beta == 0.9


def test_of_a_front_a_limit_chooses(ready, command):
    study = make_study([0.5, 10.0], [0.7, 30.0], [0.6, 40.0], cost="synaptic_operations")
    tell(study, [0.999, 1.0], trained=False)
    assert "; front trial 0: accuracy 50.00%, cost 10; trial 1: accuracy 70.00%, cost 30; w" in command("studies")[1]
    code, _, err = command("promote")
    assert (code, "has a front; choose by --trial 0, 1, by --min-accuracy" in err) == (2, True)
    assert winner(study, None, 0.6, None).number == 1
    assert winner(study, None, 0.5, None).number == 0
    assert winner(study, None, None, 29).number == 0
    with pytest.raises(TuningError, match="no trial of study"):
        winner(study, None, 1.1, None)
    assert command("promote", "--max-cost", "30")[0] == 0
    assert read_params().network.beta == find_study(JournalStore(), None).trials[1].params["network.beta"]
