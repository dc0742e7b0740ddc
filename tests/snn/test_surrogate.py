from typing import get_args

import pytest
import torch

from lifline.choices import Decoding, LossName, SurrogateName
from lifline.params import TrainParams
from lifline.snn.decoding import DECODINGS
from lifline.snn.loss import SUMMED_OVER_STEPS
from lifline.snn.surrogate import SURROGATES, fire


def test_params_offer_what_the_network_has():
    assert set(get_args(SurrogateName)) == set(SURROGATES)
    assert set(get_args(Decoding)) == set(DECODINGS)
    assert set(get_args(LossName)) >= SUMMED_OVER_STEPS
    assert TrainParams.model_fields["loss"].annotation == LossName


@pytest.mark.parametrize("surrogate", SURROGATES)
@pytest.mark.parametrize("requires_grad", [True, False])
def test_fires_above_zero_only(surrogate, requires_grad):
    distance = torch.tensor([-torch.inf, -1.0, -0.0, 0.0, 1e-45, 1.0, torch.inf, torch.nan])
    spikes = fire(distance.requires_grad_(requires_grad), surrogate)
    assert spikes.tolist() == [0, 0, 0, 0, 1, 1, 1, 0]


@pytest.mark.parametrize(
    ("surrogate", "expected"),
    [
        ("atan", [1 / (1 + (torch.pi * 0.5) ** 2), 1.0, 1 / (1 + (torch.pi * 0.5) ** 2)]),
        ("fast_sigmoid", [1 / 13.5**2, 1.0, 1 / 13.5**2]),
        ("spike_operator", [0.0, 0.0, 1.0]),
        ("straight_through", [1.0, 1.0, 1.0]),
    ],
)
def test_the_gradient_is_the_surrogate(surrogate, expected):
    distance = torch.tensor([-0.5, 0.0, 0.5], requires_grad=True)
    (2 * fire(distance, surrogate)).sum().backward()
    torch.testing.assert_close(distance.grad, 2 * torch.tensor(expected))
