"""Rules on figures by hand: where they hold, and what they stay silent about."""

import pytest

from lifline.data.inspection import DataFigures
from lifline.training.diagnosis import MIN_ITERATIONS, MIN_PLANNED, Figures, diagnose, figures_of
from lifline.training.report import EpochReport
from tests.conftest import HEALTHY, changed
from tests.processes import ROOT

GOOD_DATA = DataFigures(60_000, 10_000, 0.0, {"train": 1.0, "test": 1.0}, 0.8, 0.14, 0.03)


def names(params, *healths, **values):
    wanted = {"iterations": 500, "planned": 500, "accuracy": 0.9, "data": GOOD_DATA} | values
    return [finding.name for finding in diagnose(Figures(params, healths=healths or (HEALTHY,), **wanted))]


def test_what_is_healthy_has_no_findings(params):
    assert names(params) == []


@pytest.mark.parametrize(
    ("figures", "fault"),
    [
        ({"silent": {"hidden_1": 0.95, "output": 0.0}}, "dead layer"),
        ({"saturated": {"hidden_1": 0.4, "output": 0.0}}, "saturated layer"),
        ({"silent_outputs": 0.5}, "silent output"),
        ({"ties": 0.5}, "ties"),
        ({"gradient_norm": {"hidden_1": 2000.0, "output": 1.0}}, "exploding gradient"),
        ({"gradient_norm": {"hidden_1": 1e-6, "output": 1.0}}, "vanishing gradient"),
        ({"update_ratio": {"hidden_1": 0.01, "output": 3.0}}, "learning rate too high"),
        ({"update_ratio": {"hidden_1": 1e-5, "output": 2e-5}}, "learning rate too low"),
    ],
)
def test_each_figure_has_its_fault(params, figures, fault):
    unwell = HEALTHY._replace(**figures)
    assert names(params, HEALTHY._replace(update_ratio=unwell.update_ratio), unwell) == [fault]
    assert names(params, unwell, iterations=MIN_ITERATIONS - 1) == []


def test_a_rate_that_has_fallen_by_the_end_was_not_too_low(params):
    at_the_end = HEALTHY._replace(update_ratio={"hidden_1": 1e-9, "output": 1e-9})
    assert names(params, HEALTHY, at_the_end) == []


def test_where_no_gradient_arrives_the_learning_rate_is_not_blamed(params):
    nothing = HEALTHY._replace(
        update_ratio={"hidden_1": 0.0, "output": 0.0}, gradient_norm={"hidden_1": 0.0, "output": 0.1}
    )
    assert names(params, nothing) == ["vanishing gradient"]


def test_a_loss_of_0_has_no_gradient_and_is_no_fault(params):
    assert names(params, HEALTHY._replace(gradient_norm={"hidden_1": 0.0, "output": 0.0})) == []


@pytest.mark.parametrize("decoding", ["rate_membrane", "latency", "membrane"])
def test_ties_matter_where_nothing_else_decides(params, decoding):
    assert names(changed(params, network={"decoding": decoding}), HEALTHY._replace(ties=0.9)) == []


def test_silence_does_not_matter_to_a_membrane(params):
    assert names(changed(params, network={"decoding": "membrane"}), HEALTHY._replace(silent_outputs=1.0)) == []


def test_few_steps_matter_where_images_stay_undecided(params):
    few = changed(params, network={"num_steps": 2, "beta": 0.99})
    assert names(few) == []
    undecided = HEALTHY._replace(silent_outputs=0.2, ties=0.1)
    assert names(few, undecided) == ["too few steps for beta"]
    assert names(changed(few, network={"decoding": "membrane"}), undecided) == []
    assert names(changed(params, network={"num_steps": 2, "beta": [0.3, 0.5]}), undecided) == []


@pytest.mark.parametrize(
    ("figures", "fault"),
    [
        ({"num_test": 70_000}, "train and test swapped"),
        ({"overlap": 0.02}, "train and test overlap"),
        ({"brightness": {"train": 1.0, "test": 1 / 255}}, "inputs not scaled"),
    ],
)
def test_each_figure_of_the_data_has_its_fault(params, figures, fault):
    assert names(params, data=GOOD_DATA._replace(**figures)) == [fault]
    assert names(params, iterations=0, data=GOOD_DATA._replace(**figures)) == [fault]


def test_labels_mean_something_where_a_network_learns_them(params):
    """Classes that no mean tells apart are no fault."""
    hard = GOOD_DATA._replace(agreement=0.1)
    assert names(params, data=hard) == []
    assert names(params, data=hard, accuracy=0.1) == ["labels shuffled", "nothing learned"]


def test_labels_are_not_blamed_where_few_images_tell_little(params):
    """Three classes of 360 pictures, whose shapes are anywhere: a mean of a class looks like that of any other."""
    few = GOOD_DATA._replace(num_train=360, num_test=90, agreement=0.489, chance=0.504, luck=0.142)
    assert names(params, data=few, accuracy=0.28) == ["nothing learned"]


def test_labels_are_not_blamed_before_a_network_could_learn_them(params):
    hard = GOOD_DATA._replace(agreement=0.1)
    assert names(params, data=hard, accuracy=0.1, iterations=MIN_ITERATIONS - 1) == []


def test_a_training_of_few_steps_that_has_not_learned_says_so_first(params):
    """Three classes, and two optimizer steps an epoch."""
    three = GOOD_DATA._replace(chance=0.504, luck=0.142)
    (finding,) = diagnose(Figures(params, 16, 16, 0.31, [HEALTHY] * 8, data=three))
    assert str(finding) == (
        "few steps: 16 optimizer steps in all, too few to look for other faults; "
        "make train.batch_size smaller or train.epochs larger"
    )
    (finding,) = diagnose(Figures(params, 1, 1, 0.31, [HEALTHY], data=three))
    assert finding.figure.startswith("1 optimizer step in all")
    of_120 = {"iterations": 120, "planned": 120, "accuracy": 0.5, "data": three}
    assert names(params, HEALTHY._replace(ties=0.57), **of_120) == ["few steps", "ties", "nothing learned"]


@pytest.mark.parametrize(
    "figures",
    [
        {"planned": MIN_PLANNED, "iterations": MIN_PLANNED},
        {"planned": 120, "iterations": 120, "accuracy": 0.95},
        {"planned": 120, "iterations": 118},
        {"planned": 0, "iterations": 0},
    ],
    ids=["enough", "learned", "not at its end", "not begun"],
)
def test_few_steps_are_no_fault(params, figures):
    assert names(params, **{"accuracy": 0.6} | figures) == []


def test_a_training_of_few_steps_is_judged_at_its_end(params):
    """Until then it looks unwell for want of steps."""
    unwell = HEALTHY._replace(ties=0.6)
    assert names(params, unwell, accuracy=0.1, iterations=118, planned=120) == []


def test_what_learned_nothing_is_advised_of_params_alone(params):
    (finding,) = diagnose(Figures(params, 500, 500, 0.1, [HEALTHY], data=GOOD_DATA))
    assert finding.name == "nothing learned"
    assert "train.batch_size" in finding.advice
    assert "preset" not in finding.advice
    assert f"\n  {finding.advice}\n" in (ROOT / "docs/guide.md").read_text()


def test_a_single_bad_epoch_is_not_nothing_learned(params):
    """Of few images, an accuracy may fall to luck's for an epoch. What a training ends with counts."""
    going_on = Figures(params, 500, 2500, 0.14, [HEALTHY] * 12, data=GOOD_DATA._replace(agreement=0.1))
    assert [finding.name for finding in diagnose(going_on)] == ["labels shuffled", "nothing learned"]
    has_learned = going_on._replace(best_accuracy=0.575)
    assert diagnose(has_learned) == []
    assert "nothing learned" in [finding.name for finding in diagnose(has_learned._replace(iterations=2500))]


def test_the_best_accuracy_is_that_of_the_best_epoch(params):
    reports = [
        EpochReport(epoch, epoch, [0.5], accuracy, 0.5, accuracy, 1000.0, 0.1, 4, [], HEALTHY)
        for epoch, accuracy in enumerate((0.5, 0.6, 0.4), 1)
    ]
    figures = figures_of(params, reports)
    assert (figures.accuracy, figures.best_accuracy) == (0.4, 0.6)


def test_what_was_learned_by_heart_is_overfitting_alone(params):
    """Advice against learning too little, as more epochs, would make it worse."""
    figures = Figures(params, 500, 500, 0.1, [HEALTHY], data=GOOD_DATA, train_accuracy=0.8)
    for few in (figures, figures._replace(iterations=120, planned=120)):
        (finding,) = diagnose(few)
        assert finding.name == "overfitting"
        assert "check labels" in finding.advice
    (too_few,) = diagnose(figures._replace(iterations=60, planned=60))
    assert too_few.name == "few steps"


def test_a_network_that_knows_its_training_images_alone_is_told_to(params):
    few = changed(params, data={"validation_size": 40})
    figures = Figures(few, 300, 300, 0.6, [HEALTHY], data=GOOD_DATA, train_accuracy=0.89)
    (finding,) = diagnose(figures)
    assert str(finding).startswith(
        "overfitting: 89.0% of the training images are right when they are shown, of the validation images 60.0%; check"
    )
    assert diagnose(figures._replace(train_accuracy=0.8)) == []  # of 40 images, that may be luck
    assert diagnose(figures._replace(planned=600)) == []  # it is not at its end
    many = figures._replace(params=params)
    assert diagnose(many._replace(train_accuracy=0.71)) != []
    assert diagnose(many._replace(train_accuracy=0.69)) == []


def test_a_failure_is_told_without_what_is_allowed(params):
    failed = Figures(params, failure="the training loss is nan at iteration 3, allowed is a finite number; try less")
    (finding,) = diagnose(failed)
    assert str(finding).startswith("figures that are no numbers: the training loss is nan at iteration 3; lower train.")
