"""The parts of the C source, to be filled in by `lifline.export.integer.c_source`."""

from typing import NamedTuple

from lifline.choices import Decoding

HEADER = """\
/* A trained spiking network in whole numbers: $num_steps steps an image, without floating point, allocation or library.

   Written by lifline. The weights lie in network.c; every spike and membrane equals lifline's specification. */

#ifndef NETWORK_H
#define NETWORK_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define NETWORK_IMAGE_SIZE $image_size
#define NETWORK_NUM_CLASSES $num_classes
#define NETWORK_NUM_STEPS $num_steps

/* Working memory of a call, $num_bytes bytes at most; its content before does not matter, nor does that after. */
struct network_state {
$members
};

/* Returns the class of an image, bytes $image$order, and how often each class's neuron fired. */
int network_classify(const uint8_t image[NETWORK_IMAGE_SIZE], struct network_state *state,
                     uint32_t counts[NETWORK_NUM_CLASSES]);

#ifdef NETWORK_TRACE
/* Whoever traces defines it: told of each layer in each step, both counted from 0. Behind a convolution neurons stand
   in the order [height][width][channel]. */
void network_trace(int layer, int step, const uint8_t *spikes, const int32_t *membrane);
#endif

#ifdef __cplusplus
}
#endif

#endif
"""

SOURCE = """\
/* Written by lifline: see network.h.

   A neuron sees a sum of weights. Its current is the sum times a power of two, plus a bias; its membrane decays, is
   charged by the current, and loses the threshold if the neuron fired in the step before. It fires where the membrane
   is above the threshold. No number can leave its type, whatever the image: that was proven of these weights. */

#include "network.h"

#ifdef NETWORK_TRACE
#define TRACE(layer, step, spikes, membrane) network_trace(layer, step, spikes, membrane)
#else
#define TRACE(layer, step, spikes, membrane) ((void)0)
#endif

/* Returns membrane * multiplier / 2^16, rounded to the nearest whole number, halves up. What a shift does to negative
   numbers is the compiler's choice; so 2^31 is added before, and what has become of it is subtracted. */
static inline int32_t decayed(int32_t membrane, uint32_t multiplier)
{
    const uint64_t product = (uint64_t)((uint32_t)membrane + 0x80000000u) * multiplier;
    return (int32_t)((int64_t)((product + 0x8000u) >> 16) - (int64_t)multiplier * 0x8000);
}
"""

LATENCY = """\
/* The step in which a pixel of each brightness fires; NETWORK_NUM_STEPS: never. */
$table

static void fire_input(const uint8_t image[$image_size], int step, uint8_t spikes[$image_size])
{
    for (int32_t i = 0; i < $image_size; i++)
        spikes[i] = (uint8_t)(spike_step[image[i]] == step);
}
"""

DENSE = """\
/* Adds up the weights of the inputs that are there. */
static void project_$name(const uint8_t inputs[$num_inputs], int32_t *restrict sums)
{
    for (int32_t n = 0; n < $num_projected; n++)
        sums[n] = 0;
    for (int32_t i = 0; i < $num_inputs; i++) {
        if (inputs[i] != 0) {
            const int8_t *column = weights_$name[i];
            for (int32_t n = 0; n < $num_projected; n++)
                sums[n] += $weight;
        }
    }
}
"""

CONVOLUTION = """\
/* Adds up the weights of the inputs that are there: each reaches a square of places, as far as that is inside. */
static void project_$name(const uint8_t inputs[$num_inputs], int32_t *restrict sums)
{
    for (int32_t n = 0; n < $num_projected; n++)
        sums[n] = 0;
    for (int32_t i = 0; i < $num_inputs; i++) {
        if (inputs[i] != 0) {
            const int32_t $place;
            const int32_t top = y - $reach, left = x - $reach;
            const int32_t first_row = top < 0 ? -top : 0, first_column = left < 0 ? -left : 0;
            const int32_t end_row = top + $kernel > $height ? $height - top : $kernel;
            const int32_t end_column = left + $kernel > $width ? $width - left : $kernel;
            for (int32_t row = first_row; row < end_row; row++) {
                const int8_t *column = weights_$name[channel][row] + first_column * $num_channels;
                int32_t *reached = sums + ((top + row) * $width + left + first_column) * $num_channels;
                for (int32_t n = 0; n < (end_column - first_column) * $num_channels; n++)
                    reached[n] += $weight;
            }
        }
    }
}
"""

POOLING = """\
/* $pooled of $pool x $pool places. */
static void pool_$name(const int32_t *restrict sums, int32_t *restrict pooled)
{
    for (int32_t y = 0; y < $pooled_height; y++) {
        for (int32_t x = 0; x < $pooled_width; x++, pooled += $num_channels) {
            const int32_t *corner = sums + (y * $pool * $width + x * $pool) * $num_channels;
            for (int32_t channel = 0; channel < $num_channels; channel++)
                pooled[channel] = corner[channel];
            for (int32_t i = 1; i < $pool * $pool; i++) {
                const int32_t *place = corner + (i / $pool * $width + i % $pool) * $num_channels;
                for (int32_t channel = 0; channel < $num_channels; channel++)
                    $pool_one;
            }
        }
    }
}
"""

LARGEST_ONE = "pooled[channel] = place[channel] > pooled[channel] ? place[channel] : pooled[channel]"
SUM_ONE = "pooled[channel] += place[channel]"

FIRE = """\
static void fire_$name(const int32_t *restrict sums, struct network_state *state)
{
    int32_t *restrict membrane = state->membrane_$name;
    uint8_t *restrict fired = state->fired_$name;
$delay    for (int32_t first = 0; first < $num_neurons; first += $num_channels) {
        for (int32_t channel = 0; channel < $num_channels; channel++) {
            const int32_t n = first + channel, threshold = threshold_$name[channel];
            const int32_t current = sums[n] * $power + bias_$name[channel];
            membrane[n] = decayed(membrane[n], ${multiplier}u) + current - (fired[n] ? threshold : 0);
            fired[n] = (uint8_t)(membrane[n] > threshold);
        }
    }
}
"""

DELAY = """\
    for (int32_t n = 0; n < $num_neurons; n++)
        state->leaving_$name[n] = fired[n]; /* spikes leave a step late */
"""

CLEAR = """\
    for (int32_t n = 0; n < $num_neurons; n++) {
        state->membrane_$name[n] = 0;
        state->fired_$name[n] = 0;
    }
"""

CLASSIFY = """\
int network_classify(const uint8_t image[NETWORK_IMAGE_SIZE], struct network_state *state,
                     uint32_t counts[NETWORK_NUM_CLASSES])
{
$declared    for (int i = 0; i < NETWORK_NUM_CLASSES; i++) {
        counts[i] = 0;
$begin    }
$clear$before    for (int step = 0; step < NETWORK_NUM_STEPS; step++) {
$layers        const uint8_t *spikes = state->$output;
        for (int i = 0; i < NETWORK_NUM_CLASSES; i++) {
            counts[i] += spikes[i];
$judge        }
    }
    int decided = 0;
    for (int i = 1; i < NETWORK_NUM_CLASSES; i++) {
        if ($better)
            decided = i;
    }
    return decided;
}
"""


class Tally(NamedTuple):
    """What is kept of each class i over the steps, to decide by."""

    declaration: str
    begin: str
    judge: str
    """In each step."""


TALLIES = {
    "membrane_sums": Tally(
        "int64_t membrane_sums[NETWORK_NUM_CLASSES];",
        "membrane_sums[i] = 0;",
        "membrane_sums[i] += state->membrane_output[i];",
    ),
    "first_spike": Tally(
        "int first_spike[NETWORK_NUM_CLASSES];",
        "first_spike[i] = NETWORK_NUM_STEPS;",
        "if (spikes[i] != 0 && step < first_spike[i])\n                first_spike[i] = step;",
    ),
}

LARGER_MEMBRANE = "membrane_sums[i] > membrane_sums[decided]"
BETTER: dict[Decoding, str] = {
    "rate": "counts[i] > counts[decided]",
    "rate_membrane": f"counts[i] > counts[decided] || (counts[i] == counts[decided] && {LARGER_MEMBRANE})",
    "latency": (
        f"first_spike[i] < first_spike[decided] || (first_spike[i] == first_spike[decided] && {LARGER_MEMBRANE})"
    ),
    "membrane": LARGER_MEMBRANE,
}
"""Whether class i is better than the one decided so far; of equal ones the first stays."""
