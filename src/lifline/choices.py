"""Names by which params, networks and data sets choose."""

from typing import Literal

Coding = Literal["constant", "latency", "rate"]
Decoding = Literal["rate", "rate_membrane", "latency", "membrane"]
FormatName = Literal["onnx", "nir", "integer"]
LossName = Literal["membrane_ce", "count_ce", "rate_ce", "rate_mse"]
SurrogateName = Literal["atan", "spike_operator", "fast_sigmoid", "straight_through"]
Preparation = Literal["handwriting", "on_black", "plain"]
"""Of a picture: a dark or light sign cut out and centred by its mass; put on black; or scaled to fit, with borders."""

IMAGE, SPIKE_TRAIN = "image", "spike_train"
"""Names of what an exported network is shown: images, or where it codes by rate the spikes that are drawn of them."""
