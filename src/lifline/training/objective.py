"""What the params ask training to minimise."""

from functools import partial

from lifline.choices import LossName
from lifline.params import TrainParams
from lifline.snn.loss import Loss, count_ce, hidden_firing_rate, membrane_ce, rate_ce, rate_mse


def make_loss(params: TrainParams) -> Loss:
    """Return the loss that the params ask for."""
    losses: dict[LossName, Loss] = {
        "membrane_ce": membrane_ce,
        "count_ce": count_ce,
        "rate_ce": rate_ce,
        "rate_mse": partial(rate_mse, correct_rate=params.correct_rate, incorrect_rate=params.incorrect_rate),
    }
    loss = losses[params.loss]
    if params.spike_penalty == 0:
        return loss
    return lambda record, labels: loss(record, labels) + params.spike_penalty * hidden_firing_rate(record)
