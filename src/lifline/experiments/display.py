"""How a training shows itself: a bar with loss and accuracy on a terminal, plain lines elsewhere."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from lifline.system.progress import new_bar
from lifline.training.diagnosis import MIN_PLANNED, Finding
from lifline.training.fit import Step
from lifline.training.report import EpochReport


class TrainingDisplay:
    """Shows how far a training is, with its latest loss and accuracy."""

    LINES = 10
    """Plain lines per training, where there is no terminal."""

    STEPS_PER_REDRAW = 10

    def __init__(self, num_epochs: int, iterations_per_epoch: int, progress: Progress) -> None:
        self.num_epochs = num_epochs
        self.num_iterations = num_epochs * iterations_per_epoch
        self.progress = progress
        self.task = progress.add_task("training", total=self.num_iterations)
        self.first_found: dict[str, int] = {}
        """The epoch after which a finding was told, by its name."""

    def show_start(self) -> None:
        """Tell that the training is short, where it is."""
        if self.num_iterations < MIN_PLANNED:
            self._say(
                f'few optimizer steps in all: {self.num_iterations}; see "Few pictures" in lifline\'s docs/guide.md'
            )

    def show_step(self, step: Step) -> None:
        """Show an optimizer step, if it is its turn: reading its figures may wait for the device."""
        if not self.progress.disable:
            if step.iteration % self.STEPS_PER_REDRAW == 0:
                self.progress.update(self.task, completed=step.iteration, description=self._figures(step))
        elif step.iteration % max(1, self.num_iterations // self.LINES) == 0:
            share = step.iteration / self.num_iterations
            print(f"{share:4.0%}  iteration {step.iteration}  {self._figures(step)}", flush=True)

    def show_resumption(self, report: EpochReport) -> None:
        """Leave a line about a training that goes on after the epoch of `report`."""
        self._say(f"goes on after epoch {report.epoch}, from its checkpoint")
        self.progress.update(self.task, completed=report.iteration)

    def show_epoch(self, report: EpochReport) -> None:
        """Leave a line about a finished epoch."""
        self._say(
            f"epoch {report.epoch} of {self.num_epochs}, validation: loss {report.validation_loss:.3g}, "
            f"accuracy {report.validation_accuracy:.2%}; {report.images_per_second:,.0f} images/s"
        )

    def show_findings(self, epoch: int, findings: Sequence[Finding]) -> None:
        """Leave a line about each thing that is wrong after an epoch, and was not told before."""
        new = [finding for finding in findings if finding.name not in self.first_found]
        for finding in new:
            self._say(f"warning: {finding}")
        if new and not self.first_found and epoch < self.num_epochs:
            self._say("Ctrl-C stops the training; its epochs so far are kept, and the same command goes on")
        self.first_found |= {finding.name: epoch for finding in new}

    def show_end(self, findings: Sequence[Finding], run: str) -> None:
        """Name what is wrong after the last epoch, where it was told before; `run` is as `lifline doctor` knows it."""
        if any(self.first_found[finding.name] < self.num_epochs for finding in findings):
            names = ", ".join(finding.name for finding in findings)
            self._say(f"warning: {names} (see above, or lifline doctor {run})")

    def _say(self, line: str) -> None:
        self.progress.console.print(line, highlight=False, markup=False, soft_wrap=True)

    @staticmethod
    def _figures(step: Step) -> str:
        return f"training: loss {step.loss.item():8.3g}, accuracy {step.num_correct.item() / step.num_images:6.1%}"


@contextmanager
def training_display(num_epochs: int, iterations_per_epoch: int) -> Iterator[TrainingDisplay]:
    """A display for a training of `num_epochs`."""
    columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()]
    with new_bar(*columns) as progress:
        display = TrainingDisplay(num_epochs, iterations_per_epoch, progress)
        display.show_start()
        yield display
