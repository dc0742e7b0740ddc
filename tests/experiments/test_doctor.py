"""`lifline doctor`: planted faults are found, recipes that learn raise no alarm, runs are judged like recipes."""

from contextlib import chdir

import pytest
import torch

from lifline.data.datasets import Dataset, load_dataset, save_dataset
from lifline.data.images import LabelledImages, split_training_images
from lifline.data.inspection import inspect_dataset
from lifline.download.obtain import obtain_dataset
from lifline.errors import TrainingError
from lifline.experiments import seeds
from lifline.experiments.checkpoint import checkpoint_of
from lifline.experiments.doctor import STEPS, examine_recipe
from lifline.experiments.training import train_tracked
from lifline.params import read_params
from lifline.paths import DATA
from lifline.presets import change_params, preset_names, preset_values
from lifline.tracking import runs as tracking
from lifline.tracking.health import figures_of_run
from lifline.tracking.tags import DESCRIPTION_TAG, WARNINGS_TAG
from lifline.training.diagnosis import diagnose, figures_of
from lifline.training.fit import fit, new_training
from lifline.training.report import EpochReport
from tests.conftest import HEALTHY, MNIST, ROOT, assert_one_line_error, first, once
from tests.tracking.runs import all_runs

CPU = torch.device("cpu")
QUICK = {
    "network.layers": "50",
    "train.batch_size": 32,
    "train.epochs": 8,
    "data.validation_size": 300,
    **dict.fromkeys(("augmentation.rotation", "augmentation.scale", "augmentation.shear", "augmentation.shift"), 0.0),
    "augmentation.elastic": 0.0,
}
DEEP = {"network.layers": "20-20-20-20-20-20"}
THROUGH = {"network.surrogate": "straight_through", "network.beta": 1.0}

OF_PARAMS = {
    "figures that are no numbers": THROUGH
    | {"network.layers": "-".join(["50"] * 15), "network.num_steps": 50, "train.batch_size": 8}
    | {"train.learning_rate": 1.0, "train.warmup_epochs": 0.0},
    "learning rate too high": {"train.learning_rate": 1.0},
    "learning rate too low": {"train.learning_rate": 1.0e-6},
    "exploding gradient": THROUGH | {"network.layers": "30-30-30-30", "network.num_steps": 25},
    "vanishing gradient": DEEP | {"network.surrogate": "fast_sigmoid"},
    "dead layer": {"network.threshold": [1000.0, 1.0]},
    "saturated layer": {"network.threshold": [0.01, 1.0], "network.beta": 1.0}
    | {"network.layers": "100", "network.num_steps": 40},
    "too few steps for beta": {"network.num_steps": 1, "network.beta": 0.95},
    "silent output": {"network.threshold": [1.0, 1000.0]},
    "ties": {"train.incorrect_rate": 0.8},
    "overfitting": {"data.validation_size": 1_800, "train.batch_size": 4},
}
"""Changes of a recipe that learns, by what is wrong then."""


def shuffled(data):
    order = torch.randperm(len(data.train.labels), generator=torch.Generator().manual_seed(0))
    return data._replace(train=LabelledImages(data.train.images, data.train.labels[order]))


def as_bytes_of_0_and_1(data):
    return data._replace(
        train=LabelledImages(data.train.images // 128, data.train.labels),
        test=LabelledImages(data.test.images // 128, data.test.labels),
    )


def overlapping(data):
    images, labels = data.test
    images, labels = torch.cat([images[10:], data.train.images[:10]]), torch.cat([labels[10:], data.train.labels[:10]])
    return data._replace(test=LabelledImages(images, labels))


OF_DATA = {
    "labels shuffled": shuffled,
    "inputs not scaled": as_bytes_of_0_and_1,
    "train and test swapped": lambda data: data._replace(train=data.test, test=data.train),
    "train and test overlap": overlapping,
}
"""Changes of a data set, by what is wrong then."""


@pytest.fixture(scope="session")
def few(mnist) -> Dataset:
    return mnist._replace(train=first(mnist.train, 1_900), test=first(mnist.test, 700))


@pytest.fixture
def quick(params):
    """The preset `fast`, for fewer neurons and images, as they are."""
    return params.with_values(preset_values("fast") | QUICK)


def names(params, data):
    return [finding.name for finding in examine_recipe(params, data, CPU).findings]


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("preset", ["fast", "tutorial"])
def test_a_recipe_that_learns_raises_no_alarm(params, few, preset, seed):
    """For fewer neurons and images; the slow tests take the presets as they are."""
    examined = examine_recipe(params.with_values(preset_values(preset) | QUICK | {"train.seed": seed}), few, CPU)
    assert examined.findings == []
    assert (examined.iterations, examined.saw_data) == (STEPS, True)


@pytest.mark.parametrize(("fault", "change"), OF_PARAMS.items())
def test_a_fault_of_the_params_is_found(quick, few, fault, change):
    assert fault in names(quick.with_values(change), few)


@pytest.mark.parametrize(("fault", "change"), OF_DATA.items())
def test_a_fault_of_the_data_is_found_and_told_before_what_it_causes(quick, few, fault, change):
    assert names(quick, change(few))[0] == fault


def test_a_recipe_of_few_steps_is_trained_for_as_many_as_it_has(quick, few):
    """6 batches of 256 and one of 64, three times."""
    examined = examine_recipe(quick.with_values({"train.batch_size": 256, "train.epochs": 3}), few, CPU)
    assert examined.iterations == 21
    assert [str(finding) for finding in examined.findings] == [
        "few steps: 21 optimizer steps in all, too few to look for other faults; "
        "make train.batch_size smaller or train.epochs larger"
    ]


def test_a_recipe_of_few_steps_is_judged_as_its_training_is(quick, few):
    """With a learning rate that did not fall as in the training, it would learn in as many steps."""
    recipe = quick.with_values({"train.batch_size": 64, "train.epochs": 7, "train.learning_rate": 0.001})
    split, state = split_training_images(few.train, recipe.data), new_training(recipe, few.info, CPU)
    for _ in fit(state, split.training, split.validation, recipe):
        pass
    warned = diagnose(figures_of(recipe, state.reports))
    assert [finding.name for finding in warned] == ["few steps"]
    assert examine_recipe(recipe, few, CPU).findings == warned


def test_few_steps_are_found_in_an_epoch_of_more_than_fit_into_one_of_the_doctors(quick, few):
    """123 batches of 13 and one of 1."""
    values = {"train.batch_size": 13, "train.epochs": 1, "train.learning_rate": 1e-6}
    found = [str(finding) for finding in examine_recipe(quick.with_values(values), few, CPU).findings]
    assert "few steps: 124 optimizer steps in all; make train.batch_size smaller or train.epochs larger" in found


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("preset", preset_names())
def test_no_preset_raises_an_alarm(params, mnist, fashion, preset, seed):
    recipe = params.with_values(preset_values(preset) | {"train.seed": seed})
    assert names(recipe, fashion if recipe.data.dataset == "fashion_mnist" else mnist) == []


@pytest.fixture(scope="session")
def fashion(tmp_path_factory) -> Dataset:
    def make(path):
        with chdir(ROOT):
            obtain_dataset(read_params().with_values({"data.dataset": "fashion_mnist"}), path)

    return load_dataset(once(tmp_path_factory, "fashion.safetensors", make))


@pytest.fixture
def repository(workspace, quick, few):
    """A working copy with the quick recipe, and images for it."""
    (workspace / DATA).unlink()
    save_dataset(MNIST, few.train, few.test, workspace / DATA)
    change_params(preset_values("fast") | QUICK | {"train.epochs": 3})
    return workspace


def test_the_command_names_fault_figure_and_param_and_exits_with_1(repository, lifline):
    before = set(repository.rglob("*"))
    change_params({"train.epochs": 5})
    assert "found nothing in 200 of 250 optimizer steps and the data" in lifline("doctor")[1]
    change_params({"train.epochs": 4})
    assert lifline("doctor")[0] == 0
    change_params({"train.learning_rate": 1.0e-6})
    code, out, err = lifline("doctor")
    assert (code, err) == (1, "")
    assert "learning rate too low: the update ratio of hidden_1, the highest, is " in out
    assert "\n  raise train.learning_rate\n" in out
    assert "in 200 optimizer steps and the data" in out
    assert set(repository.rglob("*")) == before


@pytest.mark.parametrize("command", [["doctor"], ["seeds", "1"], ["tune", "--trials", "1"]], ids=lambda words: words[0])
def test_images_of_another_data_set_than_the_params_are_refused(repository, lifline, command):
    change_params({"data.dataset": "fashion_mnist"})
    code, _, err = lifline(*command)
    assert_one_line_error((code, err), f"{DATA} holds mnist, but data.dataset is fashion_mnist; `dvc repro download`")
    assert not list(repository.glob("mlflow.db"))


def test_a_run_is_judged_by_what_it_logged_and_warned_of_where_it_was_trained(store, repository, lifline, capfd):
    change_params({"network.threshold": [1000.0, 1.0]})
    params, dataset = read_params(), load_dataset(DATA)
    with checkpoint_of(params, dataset.sha256, CPU) as checkpoint, tracking.training_run(params, "cpu") as training:
        train_tracked(params, dataset, inspect_dataset(dataset), CPU, checkpoint, training)
    warning = "dead layer: 100% of the neurons of hidden_1 never fire on validation images"
    out = capfd.readouterr().out
    assert out.startswith("few optimizer steps in all: 150; ")
    assert out.count(f"warning: {warning}; lower network.threshold of that layer") == 1
    assert f"\n\nWarning: {warning}; lower" in training.read().data.tags[DESCRIPTION_TAG]
    code, out, err = lifline("doctor", training.run_id[:8])
    assert (code, err) == (1, "")
    assert f"{warning}\n  lower network.threshold of that layer" in out
    assert "few steps: 150 optimizer steps in all\n" in out
    assert "150 optimizer steps and the data" in out
    (repository / DATA).unlink()
    out = lifline("doctor", training.run_id[:8])[1]
    assert "150 optimizer steps; the data was not looked at: data/images.safetensors is missing or another, " in out


def test_a_run_that_overfitted_is_judged_by_its_last_accuracies(store, repository, stage, lifline):
    change_params(OF_PARAMS["overfitting"] | {"train.epochs": 8})
    assert stage("train") == (0, "")
    (run,) = all_runs(store)
    (warning,) = run.data.tags[WARNINGS_TAG].splitlines()
    seen, held_out = (f"{run.data.metrics[f'{part}/accuracy']:.1%}" for part in ("train", "validation"))
    told = (
        f"overfitting: {seen} of the training images are right when they are shown, of the validation images {held_out}"
    )
    assert warning.startswith(f"{told}; ")
    code, out, _ = lifline("doctor", run.info.run_id)
    assert (code, out.startswith(f"{told}\n  ")) == (1, True)


def test_a_run_that_was_stopped_is_judged_by_its_best_epoch_too(store, repository):
    params = read_params().with_values({"train.epochs": 9})
    with tracking.training_run(params, "cpu") as run:
        for epoch, accuracy in enumerate((0.5, 0.6, 0.4), 1):
            run.log_epoch(EpochReport(epoch, epoch, [0.5], accuracy, 0.5, accuracy, 1000.0, 0.1, 4, [], HEALTHY))
    figures, _ = figures_of_run(run.run_id, params)
    assert (figures.accuracy, figures.best_accuracy) == (0.4, 0.6)
    assert figures.iterations < figures.planned


def test_a_fault_of_the_data_is_warned_of_where_it_is_trained_on(store, repository, stage, few):
    change_params({"train.batch_size": 16, "train.epochs": 1})  # enough optimizer steps to be judged
    for fault in ("train and test overlap", "labels shuffled"):
        wrong = OF_DATA[fault](few)
        DATA.unlink()
        save_dataset(MNIST, wrong.train, wrong.test, DATA)
        assert stage("train") == (0, "")
        (run, *_) = reversed(all_runs(store))
        warnings = run.data.tags[WARNINGS_TAG].splitlines()
        assert [warning.split(":")[0] for warning in warnings][:1] == [fault]
        assert ("nothing learned" in "".join(warnings)) == (fault == "labels shuffled")


def test_the_data_of_many_seeds_is_looked_at_once(store, repository, lifline, monkeypatch):
    looked_at = []
    monkeypatch.setattr(seeds, "inspect_dataset", lambda data: looked_at.append(data) or inspect_dataset(data))
    change_params({"train.epochs": 1})
    assert lifline("seeds", "2")[0] == 0
    assert len(looked_at) == 1


def test_a_run_that_ended_without_an_epoch_tells_why(store, repository, lifline):
    with pytest.raises(TrainingError), tracking.training_run(read_params(), "cpu"):
        raise TrainingError("the training loss is nan at iteration 7, allowed is a finite number; try less")
    run_id = all_runs(store)[-1].info.run_id
    store.create_registered_model("lifline")
    store.create_model_version("lifline", "models", run_id)
    for name in (run_id, "1"):
        code, out, _ = lifline("doctor", name)
        assert code == 1
        told = "figures that are no numbers: the training loss is nan at iteration 7\n  lower train.learning_rate"
        assert told in out


def test_of_runs_with_one_name_none_is_taken_as_the_failed_one_may_be_meant(store, repository, lifline):
    with pytest.raises(TrainingError), tracking.training_run(read_params(), "cpu") as failed:
        raise TrainingError("the training loss is nan at iteration 7")
    with tracking.training_run(read_params(), "cpu") as finished:
        pass
    (name,) = {run.info.run_name for run in all_runs(store)}
    outcome = lifline("doctor", name)[::2]
    assert_one_line_error(
        outcome, "is one of 2", f"{failed.run_id[:8]} FAILED, of 20", f"{finished.run_id[:8]} FINISHED"
    )


def test_a_run_of_no_training_is_refused(store, repository, lifline):
    with tracking.run_of_model("ab" * 32, read_params()):
        pass
    code, _, err = lifline("doctor", all_runs(store)[-1].info.run_id)
    assert_one_line_error((code, err), "has no figures of a training; allowed are runs of trainings")
