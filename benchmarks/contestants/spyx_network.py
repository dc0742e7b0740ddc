"""Spyx, on JAX and Flax: its layers in a scan over the steps, the whole training step compiled by XLA.

Its neuron fires by the membrane of the step before, and its decay is learned. Where the loss is on the membrane the
output only integrates: its LIF neuron does not show its own.
"""

from collections.abc import Iterator
from itertools import cycle
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import optax
import spyx
from flax import nnx
from jax import Array

from benchmarks.task import ADAM_BETAS, Task, TaskLayer
from lifline.layers import Convolution

SURROGATES = {"atan": spyx.axn.arctan(), "fast_sigmoid": spyx.axn.superspike(25)}
"""By lifline's names; the second is its fast sigmoid."""


def train(task: Task, data: Path) -> Iterator[Array]:
    """Train from the task's first weights."""
    model = _new_model(task)
    optimizer = nnx.Optimizer(model, optax.adam(task.learning_rate, *ADAM_BETAS), wrt=nnx.Param)
    batches = [(jnp.asarray(_channels_last(images)), jnp.asarray(labels)) for images, labels in task.batches(data)]

    @nnx.jit(donate_argnums=(0, 1))
    def step(model: Any, optimizer: Any, images: Array, labels: Array) -> Array:
        def loss_of(model: Any) -> Array:
            shown, _ = spyx.nn.run(model, jnp.broadcast_to(images, (task.num_steps, *images.shape)))
            expected = jnp.broadcast_to(labels, shown.shape[:2])
            losses = optax.softmax_cross_entropy_with_integer_labels(shown, expected).mean(1)
            return losses.sum() if task.loss == "membrane_ce" else losses.mean()

        loss, gradients = nnx.value_and_grad(loss_of)(model)
        optimizer.update(model, gradients)
        return loss

    for images, labels in cycle(batches):
        yield step(model, optimizer, images, labels)


def _new_model(task: Task) -> Any:
    rngs, weights, layers = nnx.Rngs(0), task.weights(), task.network_layers()
    modules: list[Any] = []
    for layer in layers:
        if len(layer.shapes.neurons) == 1 and len(layer.input_shape) > 1:
            modules.append(spyx.nn.Flatten())
        modules.append(_projection(layer, weights, rngs))
        if pooling := layer.layer.pooling:
            size = (pooling.size, pooling.size)
            modules.append(lambda x, size=size: nnx.max_pool(x, size, strides=size))
        shape = (*layer.shapes.neurons[1:], layer.shapes.neurons[0])
        if layer is layers[-1] and task.loss == "membrane_ce":
            modules.append(spyx.nn.LI(shape, task.beta, rngs=rngs))
        else:
            modules.append(spyx.nn.LIF(shape, task.beta, activation=SURROGATES[task.surrogate], rngs=rngs))
    return spyx.nn.Sequential(*modules)


def _projection(layer: TaskLayer, weights: dict[str, np.ndarray], rngs: nnx.Rngs) -> Any:
    """Make a layer's projection with the task's weights; Flax has channels last."""
    weight, bias = weights[f"{layer.name}.weight"], weights[f"{layer.name}.bias"]
    if isinstance(layer.layer.projection, Convolution):
        padding, (num_filters, channels, *kernel) = layer.layer.projection.padding, weight.shape
        module = nnx.Conv(channels, num_filters, kernel, padding=padding, rngs=rngs)
        weight = weight.transpose(2, 3, 1, 0)
    else:
        module = nnx.Linear(*weight.shape[::-1], rngs=rngs)
        weight = _channels_last(weight.reshape(-1, *layer.input_shape)).reshape(weight.shape).T
    module.kernel[...], module.bias[...] = jnp.asarray(weight), jnp.asarray(bias)
    return module


def _channels_last(values: np.ndarray) -> np.ndarray:
    return np.moveaxis(values, 1, -1)
