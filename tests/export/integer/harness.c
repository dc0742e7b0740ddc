/* Reads images from standard input, and writes of each what the network did: every layer's spikes and membranes in
   each step, then the class and the counts as int32. */

#include <stdio.h>
#include <string.h>

#include "network.h"

static const int32_t num_neurons[] = NUM_NEURONS;

void network_trace(int layer, int step, const uint8_t *spikes, const int32_t *membrane)
{
    (void)step;
    fwrite(spikes, 1, (size_t)num_neurons[layer], stdout);
    fwrite(membrane, sizeof *membrane, (size_t)num_neurons[layer], stdout);
}

int main(void)
{
    static uint8_t image[NETWORK_IMAGE_SIZE];
    static struct network_state state;
    uint32_t counts[NETWORK_NUM_CLASSES];
    memset(&state, 0xA5, sizeof state);
    while (fread(image, 1, sizeof image, stdin) == sizeof image) {
        const int32_t decided = network_classify(image, &state, counts);
        fwrite(&decided, sizeof decided, 1, stdout);
        fwrite(counts, sizeof *counts, NETWORK_NUM_CLASSES, stdout);
    }
    return 0;
}
