"""How a training shows itself: a bar with loss and accuracy on a terminal, plain lines elsewhere."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from lifline.system.progress import new_bar
from lifline.training.diagnosis import Finding
from lifline.training.fit import Step
from lifline.training.report import EpochReport


class TrainingDisplay:
    """Shows how far a training is, with its latest loss and accuracy."""

    LINES = 10
    """Plain lines per training, where there is no terminal."""

    STEPS_PER_REDRAW = 10

    def __init__(self, num_iterations: int, progress: Progress) -> None:
        self.num_iterations = num_iterations
        self.progress = progress
        self.task = progress.add_task("training", total=num_iterations)

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
        self.progress.console.print(f"goes on after epoch {report.epoch}, from its checkpoint", highlight=False)
        self.progress.update(self.task, completed=report.iteration)

    def show_epoch(self, report: EpochReport) -> None:
        """Leave a line about a finished epoch."""
        line = (
            f"epoch {report.epoch}: validation loss {report.validation_loss:.3g}, "
            f"accuracy {report.validation_accuracy:.2%}, {report.images_per_second:,.0f} images per second"
        )
        self.progress.console.print(line, highlight=False)

    def show_warning(self, finding: Finding) -> None:
        """Leave a line about something that is wrong."""
        self.progress.console.print(f"warning: {finding}", highlight=False, markup=False, soft_wrap=True)

    @staticmethod
    def _figures(step: Step) -> str:
        return f"loss {step.loss.item():8.3g}  accuracy {step.num_correct.item() / step.num_images:6.1%}"


@contextmanager
def training_display(num_iterations: int) -> Iterator[TrainingDisplay]:
    """A display for a training of `num_iterations`."""
    columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()]
    with new_bar(*columns) as progress:
        yield TrainingDisplay(num_iterations, progress)
