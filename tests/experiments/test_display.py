"""What a training tells while it runs."""

from io import StringIO
from types import SimpleNamespace

import pytest
import torch
from rich.console import Console
from rich.progress import Progress

from lifline.experiments.display import training_display
from lifline.training.diagnosis import MIN_PLANNED, Finding
from lifline.training.fit import Step

FAST = Finding("learning rate too high", "the update ratio of output is 31", "lower train.learning_rate")
TIES = Finding("ties", "several classes have most spikes for 57% of the validation images", "raise network.num_steps")


def report(epoch):
    return SimpleNamespace(
        epoch=epoch,
        iteration=epoch * 100,
        validation_loss=0.12345,
        validation_accuracy=0.987,
        images_per_second=20_243.4,
    )


def step(iteration):
    return Step(iteration, torch.tensor(0.00625), torch.tensor(118), 125)


def told(capsys, findings_by_epoch):
    """What is told of the findings of these epochs, and at the end."""
    with training_display(len(findings_by_epoch), 100) as display:
        for epoch, findings in enumerate(findings_by_epoch, 1):
            display.show_findings(epoch, findings)
        display.show_end(findings_by_epoch[-1], "1a2b3c4d")
    return capsys.readouterr().out.splitlines()


def test_each_accuracy_says_of_what_it_is_and_each_epoch_of_how_many(capsys):
    with training_display(60, 100) as display:
        display.show_step(step(600))
        display.show_epoch(report(12))
    assert capsys.readouterr().out.splitlines() == [
        " 10%  iteration 600  training: loss  0.00625, accuracy  94.4%",
        "epoch 12 of 60, validation: loss 0.123, accuracy 98.70%; 20,243 images/s",
    ]


def test_a_bar_has_room_for_them_in_80_columns(monkeypatch):
    console = Console(file=StringIO(), width=80, force_terminal=True, color_system=None)
    monkeypatch.setattr("lifline.experiments.display.new_bar", lambda *columns: Progress(*columns, console=console))
    with training_display(100, 129) as display:
        display.show_step(step(1290))
    (line, *_) = [line for line in console.file.getvalue().splitlines() if "1290/12900" in line]
    assert "training: loss  0.00625, accuracy  94.4%" in line


@pytest.mark.parametrize(("steps", "is_told"), [(MIN_PLANNED - 1, True), (MIN_PLANNED, False)])
def test_few_steps_are_told_before_the_first(capsys, steps, is_told):
    with training_display(1, steps) as display:
        before = capsys.readouterr().out
        display.show_step(step(steps))
    notice = f'few optimizer steps in all: {steps}; see "Few pictures" in lifline\'s docs/guide.md\n'
    assert before == (notice if is_told else "")


def test_findings_are_told_once_and_named_at_the_end(capsys):
    assert told(capsys, [[FAST], [FAST, TIES], [FAST, TIES]]) == [
        f"warning: {FAST}",
        "Ctrl-C stops the training; its epochs so far are kept, and the same command goes on",
        f"warning: {TIES}",
        "warning: learning rate too high, ties (see above, or lifline doctor 1a2b3c4d)",
    ]


def test_what_is_found_in_the_last_epoch_alone_is_not_named_again(capsys):
    assert told(capsys, [[], [FAST]]) == [f"warning: {FAST}"]


def test_what_is_over_by_the_end_is_not_named_there(capsys):
    assert told(capsys, [[TIES], []])[-1].startswith("Ctrl-C")
