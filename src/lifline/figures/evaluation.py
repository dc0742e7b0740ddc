"""All figures of an evaluation."""

from collections.abc import Sequence

import torch

from lifline.data.batches import as_input
from lifline.data.mnist import LabelledImages
from lifline.evaluation.evaluate import Evaluation, mistakes
from lifline.figures.draw import draw_evaluation, draw_trace, draw_weights
from lifline.snn.network import SpikingNetwork
from lifline.snn.trace import trace


@torch.no_grad()
def evaluation_figures(
    network: SpikingNetwork, data: LabelledImages, evaluations: Sequence[Evaluation]
) -> dict[str, bytes]:
    """PNGs by file name; the spikes that are drawn are those of the first image.

    Args:
        network: on the device of the images.
        data: what was evaluated.
        evaluations: by number of steps, the last of them whole.
    """
    whole = evaluations[-1]
    label, decided = int(whole.labels[0]), int(whole.decided[0])
    layers = trace(network, as_input(data.images[:1]))
    return (
        draw_evaluation(evaluations, mistakes(network, data, whole))
        | draw_trace(data.images[0], label, decided, layers, network.neuron["threshold"])
        | draw_weights(network.layers[0].weight.cpu())
    )
