"""JAX: the whole training step compiled by XLA, written by hand for speed.

The input layer is computed once; the time loop is a `lax.scan`; Adam updates the donated weights in place.
"""

from collections.abc import Iterator
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from benchmarks.task import ADAM_BETAS, NUM_CLASSES, Task

Weights = dict[str, Array]
ADAM_EPSILON = 1e-8


@jax.custom_jvp
def fire(distance: Array) -> Array:
    """1.0 where a membrane is above its threshold; its derivative is the surrogate `atan`."""
    return (distance > 0).astype(distance.dtype)


@fire.defjvp
def _fire_derivative(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    (distance,), (tangent,) = primals, tangents
    return fire(distance), tangent / (1 + (jnp.pi * distance) ** 2)


def membrane_loss(weights: Weights, images: Array, labels: Array, task: Task) -> Array:
    """Cross-entropy on the output membrane at every step, summed over steps, the mean over the batch."""
    current = images @ weights["fc1.weight"].T + weights["fc1.bias"]

    def lif(membrane: Array, spike: Array, current_now: Array) -> tuple[Array, Array]:
        membrane = task.beta * membrane + current_now - lax.stop_gradient(spike)
        return membrane, fire(membrane - 1)

    def step(state: Any, _: None) -> tuple[Any, Array]:
        hidden, output = state
        hidden = lif(*hidden, current)
        output = lif(*output, hidden[1] @ weights["fc2.weight"].T + weights["fc2.bias"])
        return (hidden, output), output[0]

    silent = jnp.zeros_like(current), jnp.zeros((len(labels), NUM_CLASSES))
    _, membrane = lax.scan(step, tuple((zeros, zeros) for zeros in silent), length=task.num_steps)
    log_probabilities = jax.nn.log_softmax(membrane)
    chosen = jnp.take_along_axis(log_probabilities, labels[None, :, None], axis=2)
    return -chosen.sum() / len(labels)


@partial(jax.jit, static_argnames="task", donate_argnums=(0, 1, 2))
def training_step(
    weights: Weights, first: Weights, second: Weights, step: int, images: Array, labels: Array, task: Task
) -> tuple[Weights, Weights, Weights, Array]:
    """Forward, backward and Adam with its `first` and `second` moments; `step` counts from 1."""
    loss, gradients = jax.value_and_grad(membrane_loss)(weights, images, labels, task)
    decay_first, decay_second = ADAM_BETAS
    first = jax.tree.map(lambda m, g: decay_first * m + (1 - decay_first) * g, first, gradients)
    second = jax.tree.map(lambda v, g: decay_second * v + (1 - decay_second) * g * g, second, gradients)

    def updated(weight: Array, m: Array, v: Array) -> Array:
        size = jnp.sqrt(v / (1 - decay_second**step)) + ADAM_EPSILON
        return weight - task.learning_rate * m / (1 - decay_first**step) / size

    return jax.tree.map(updated, weights, first, second), first, second, loss


def train(task: Task, data: Path) -> Iterator[Array]:
    """Train from the task's first weights."""
    weights = {name: jnp.asarray(values) for name, values in task.weights().items()}
    first, second = jax.tree.map(jnp.zeros_like, weights), jax.tree.map(jnp.zeros_like, weights)
    batches = [(jnp.asarray(images), jnp.asarray(labels, jnp.int32)) for images, labels in task.batches(data)]
    for step, (images, labels) in enumerate(cycle(batches), start=1):
        weights, first, second, loss = training_step(weights, first, second, step, images, labels, task)
        yield loss
