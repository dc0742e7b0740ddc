"""What a study shows of itself where no terminal is."""

from types import SimpleNamespace

import optuna
import pytest

from lifline.tuning.display import show_study

FEW = "few steps: 5 optimizer steps in trial 0; make train.batch_size smaller or tune.epochs larger"


def told(capsys, accuracies, iterations):
    """What is printed of a study whose trials end with these accuracies after one epoch; None is a pruned one."""
    study = optuna.create_study(direction="maximize")
    with show_study(len(accuracies)) as display:
        for accuracy in accuracies:
            trial = study.ask()
            report = SimpleNamespace(epoch=1, iteration=iterations, validation_accuracy=accuracy or 0.1)
            display.show_epoch(study, trial.number, report)
            state = optuna.trial.TrialState.PRUNED if accuracy is None else None
            display.show_trial(study, study.tell(trial, accuracy, state=state))
    return capsys.readouterr().out.splitlines()


def test_trials_of_few_steps_are_warned_of_once(capsys):
    out = told(capsys, [0.4, 0.3], 5)
    assert out.count(f"warning: {FEW}") == 1
    assert out.index(f"warning: {FEW}") == 1


@pytest.mark.parametrize(("accuracy", "iterations"), [(0.4, 200), (0.95, 5), (None, 5)])
def test_trials_that_learn_or_end_early_or_have_steps_enough_are_not(capsys, accuracy, iterations):
    assert not [line for line in told(capsys, [accuracy], iterations) if "few steps" in line]
