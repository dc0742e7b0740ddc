"""The leaky integrate-and-fire neuron: its specification, in plain PyTorch.

Eshraghian et al., "Training Spiking Neural Networks Using Lessons From Deep Learning", Proceedings of the IEEE
111, 2023; the same as `snntorch.Leaky` with `reset_mechanism="subtract"`.
"""

import torch
from torch import Tensor

from lifline.params import SurrogateName
from lifline.snn.surrogate import SURROGATES, fire


def lif(
    current: Tensor,
    beta: float | Tensor,
    threshold: float = 1.0,
    num_steps: int | None = None,
    surrogate: SurrogateName = "atan",
    spike_delay: int = 0,
) -> tuple[Tensor, Tensor]:
    """Run N leaky integrate-and-fire neurons through T steps, from a membrane of 0.

    U[t] = beta * U[t-1] + I[t] - threshold * S[t-1] and S[t] = U[t] > threshold, where no gradient flows
    through the reset, the last term. Nothing is kept from one call to the next.

    Args:
        current: input current I: `[B, N]`, the same at every step, or `[T, B, N]`.
        beta: membrane decay per step, in [0, 1]: a float, or a tensor (0-d or `[N]`) that gradients reach.
        threshold: membrane above which a neuron fires.
        num_steps: T for a constant current; left out where `current` has a time axis.
        surrogate: what stands for the derivative of a spike, a key of `SURROGATES`.
        spike_delay: 1 returns each spike one step late, as the neuron that snnTorch's tutorial 5 writes by
            hand does. The membrane is the same.

    Returns:
        Spikes (0.0 or 1.0) and membrane after charging, each `[T, B, N]`.

    Raises:
        ValueError: an argument is out of its range, or the shape and `num_steps` do not fit.
    """
    currents = _over_time(current, num_steps)
    _check(beta, threshold, surrogate, spike_delay)
    membrane = spike = torch.zeros_like(currents[0])
    membranes, spikes = [], []
    for current_now in currents:
        membrane = beta * membrane + current_now - threshold * spike.detach()  # decay, charge, reset
        spike = fire(membrane - threshold, surrogate)
        membranes.append(membrane)
        spikes.append(spike)
    if spike_delay == 1:
        spikes = [torch.zeros_like(spike), *spikes[:-1]]
    return torch.stack(spikes), torch.stack(membranes)


def _over_time(current: Tensor, num_steps: int | None) -> list[Tensor]:
    """T currents of `[B, N]`."""
    if current.dim() == 2 and num_steps is not None and num_steps >= 1:  # noqa: PLR2004
        return [current] * num_steps
    if current.dim() == 3 and num_steps is None and len(current) >= 1:  # noqa: PLR2004
        return list(current)
    raise ValueError(
        f"current of shape {list(current.shape)} with num_steps={num_steps}; allowed are [B, N] with num_steps "
        "from 1, or [T, B, N] without num_steps"
    )


def _check(beta: float | Tensor, threshold: float, surrogate: str, spike_delay: int) -> None:
    if not isinstance(beta, Tensor) and not 0 <= beta <= 1:
        raise ValueError(f"beta is {beta}; allowed is 0 to 1")
    if not threshold > 0:
        raise ValueError(f"threshold is {threshold}; allowed is above 0")
    if surrogate not in SURROGATES:
        raise ValueError(f"surrogate is {surrogate!r}; allowed are {', '.join(SURROGATES)}")
    if spike_delay not in (0, 1):
        raise ValueError(f"spike_delay is {spike_delay}; allowed are 0 and 1")
