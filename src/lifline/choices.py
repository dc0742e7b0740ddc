"""Names by which params and networks choose: of surrogates, losses and decodings."""

from typing import Literal

Decoding = Literal["rate", "rate_membrane", "latency", "membrane"]
LossName = Literal["membrane_ce", "count_ce", "rate_mse"]
SurrogateName = Literal["atan", "spike_operator", "fast_sigmoid", "straight_through"]
