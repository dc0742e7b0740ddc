"""LIF neurons on the CPU whose spikes are convolved and max-pooled, an image and a step at a time.

Neither spikes nor the convolution's output are stored over time. Forward, the weights of each spike are added up, so
that the work goes with the number of spikes; the pooled maximum is taken in registers. Backward, the membranes of an
image are computed again. The gradient reaches one position in each pooling window: the gradient of the weights adds
it up by spike, that of the spikes adds up the weights of those outputs whose maximum lies at the same position.

Inside, channels come last. Outputs are filled up to whole vectors of 16.
"""

import numpy as np

from lifline.snn.kernels.cpu import ONE, ZERO, add_product, scale, share, surrogate_product
from lifline.snn.kernels.cpu_steps import add_step, charge, charge_all, clear
from lifline.snn.kernels.threads import compiled, on_all_threads, wide_vectors
from lifline.snn.kernels.vectors import (
    LANES,
    add,
    add_scaled,
    copy_shifted,
    equal_bits,
    in_vectors,
    in_wide_vectors,
    load,
    lowest_bit,
    spread,
    store,
    store_where_above,
    where_equal,
    where_larger,
    zeros_16,
    zeros_64,
)

INFINITY = np.float32(np.inf)


@compiled()
def _forward_kernel(
    thread, num_threads, sizes, current, beta, threshold, delay, weight, bias, pooled, places, counts,
    states, all_fired, all_starts, all_near, all_maxima,
):  # fmt: skip
    num_steps, batch, _ = pooled.shape
    state, fired, starts = states[thread], all_fired[thread], all_starts[thread]
    near, maxima, neurons = all_near[thread], all_maxima[thread], len(beta)
    first, last = share(thread, num_threads, batch)
    for b in range(first, last):
        for i in range(neurons):
            state[i] = counts[b, i] = ZERO
        starts[:] = 0
        for t in range(num_steps):
            if t >= delay:
                charge(neurons, current[(t - delay) % len(current), b], beta, threshold, state)
                _list_spikes(sizes, state, threshold, fired, starts)
                for j in range(starts[-1]):
                    counts[b, fired[j]] += ONE
            in_vectors(_convolve, sizes.lanes, (sizes, fired, starts, near, weight, bias, maxima, places[t, b]))
            _copy_outputs(sizes, maxima, pooled[t, b])


@compiled()
def _list_spikes(sizes, membrane, threshold, fired, starts):
    """List the neurons that fire, and where in the list each pixel's begin."""
    wide_vectors()
    count = 0
    for pixel in range(sizes.height * sizes.width):
        starts[pixel] = count
        for channel in range(0, sizes.channels, LANES):
            neuron = pixel * sizes.channels + channel
            count = store_where_above(membrane, neuron, threshold, fired, count, sizes.channels - channel)
    starts[sizes.height * sizes.width] = count


@compiled()
def _convolve(like, lane, sizes, fired, starts, near, weight, bias, maxima, places):
    """Add up the weights of the spikes around each position, and take the maximum of each window."""
    wide_vectors()
    pool = sizes.pool
    for window in range(sizes.pooled_height * sizes.pooled_width):
        top, left = window // sizes.pooled_width * pool, window % sizes.pooled_width * pool
        best, place = spread(-INFINITY, like), like
        for inside in range(pool * pool):
            y, x = top + inside // pool - sizes.padding, left + inside % pool - sizes.padding
            total = load(bias, lane, like)
            for j in range(_list_patch(sizes, fired, starts, y, x, near)):
                total = add(total, load(weight, near[j] + lane, like))
            place = where_larger(total, best, spread(np.float32(inside), like), place)
            best = where_larger(total, best, total, best)
        store(maxima, window * sizes.lanes + lane, best)
        store(places, window * sizes.lanes + lane, place)


@compiled()
def _list_patch(sizes, fired, starts, y, x, near):
    """List where the weights of the spikes in a patch begin; return their count. One loop over all is predictable."""
    wide_vectors()
    count = 0
    for row in range(max(-y, 0), min(sizes.kernel, sizes.height - y)):
        begin, end, base = _in_row(sizes, starts, y, x, row)
        for j in range(begin, end, LANES):
            copy_shifted(fired, j, near, count + j - begin, base, sizes.lanes)
        count += end - begin
    return count


@compiled()
def _in_row(sizes, starts, y, x, row):
    """Return where the spikes of a patch's row begin and end, and what makes a neuron's number that of its weight."""
    pixel = (y + row) * sizes.width
    begin, end = starts[pixel + max(x, 0)], starts[pixel + min(x + sizes.kernel, sizes.width)]
    return begin, end, (row * sizes.kernel - pixel - x) * sizes.channels


@compiled()
def _copy_outputs(sizes, maxima, pooled):
    for window in range(sizes.pooled_height * sizes.pooled_width):
        source, target = maxima[window * sizes.lanes :], pooled[window * sizes.outputs :]
        for o in range(sizes.outputs):
            target[o] = source[o]


@compiled()
def _backward_kernel(
    thread, num_threads, sizes, current, beta, threshold, delay, surrogate, weight, channels, corners,
    pooled_grad, places, counts_grad, current_grad, weight_grads, bias_grads, beta_grads,
    all_membranes, all_fired, all_starts, all_sorted, all_ends, all_begins, all_gradients, all_unpooled,
    all_listed, all_scales, all_groups, all_padded, all_spike_grads, all_products, state_grads, all_ones,
):  # fmt: skip
    num_steps, batch, _ = pooled_grad.shape
    membrane, fired, starts = all_membranes[thread], all_fired[thread], all_starts[thread]
    sorted_corners, ends, begins = all_sorted[thread], all_ends[thread], all_begins[thread]
    gradient, unpooled, padded = all_gradients[thread], all_unpooled[thread], all_padded[thread]
    spike_grad, product = all_spike_grads[thread], all_products[thread]
    listed, scales, groups = all_listed[thread], all_scales[thread], all_groups[thread]
    state_grad, ones, weight_grad = state_grads[thread, 0], all_ones[thread, 0], weight_grads[thread]
    neurons = len(beta)
    for i in range(neurons):
        ones[i] = ONE
    first, last = share(thread, num_threads, batch)
    for b in range(first, last):
        charge_all(neurons, num_steps - delay, current, b, 0, beta, threshold, membrane)
        for i in range(neurons):
            state_grad[i] = ZERO
        for t in range(delay):
            _copy_gradient(sizes, pooled_grad, t, b, gradient, bias_grads[thread])
        for t in range(num_steps - 1, -1, -1):
            if t + delay < num_steps:
                _copy_gradient(sizes, pooled_grad, t + delay, b, gradient, bias_grads[thread])
                _list_spikes(sizes, membrane[t], threshold, fired, starts)
                _unpool(sizes, gradient, places[t + delay, b], unpooled)
                _sort_by_channel(sizes, fired, starts, channels, corners, sorted_corners, ends, begins)
                in_wide_vectors(
                    _add_by_spike, sizes.kernel * sizes.lanes, (sizes, sorted_corners, begins, unpooled, weight_grad)
                )
                _group(sizes, gradient, places[t + delay, b], listed, scales, groups)
                clear(len(padded), padded)
                for row in range(sizes.kernel):
                    in_vectors(_add_by_output, sizes.row, (row, sizes, weight, listed, scales, groups, padded))
                _take_inside(sizes, padded, spike_grad[0])
                if len(counts_grad):
                    add_product(neurons, ones, counts_grad[b], spike_grad[0])
                surrogate_product(neurons, 1, surrogate, membrane[t:], 0, threshold, spike_grad, product)
                scale(neurons, beta, state_grad)
                add_product(neurons, ones, product[0], state_grad)
                if beta_grads.size and t > 0:
                    add_product(neurons, state_grad, membrane[t - 1], beta_grads[thread])
            add_step(neurons, num_steps, t, state_grad, current_grad, b, 0)


@compiled()
def _copy_gradient(sizes, pooled_grad, t, b, gradient, bias_grad):
    """Copy a step's gradient, filled up, and add it to that of the bias."""
    for window in range(sizes.pooled_height * sizes.pooled_width):
        source, target = pooled_grad[t, b, window * sizes.outputs :], gradient[window * sizes.lanes :]
        for o in range(sizes.outputs):
            target[o] = source[o]
            bias_grad[o] += source[o]


@compiled()
def _unpool(sizes, gradient, places, unpooled):
    """Put each gradient where its maximum was, zeros elsewhere in its window; the last column comes first."""
    wide_vectors()
    pool = sizes.pool
    for window in range(sizes.pooled_height * sizes.pooled_width):
        top, left = window // sizes.pooled_width * pool, window % sizes.pooled_width * pool
        for lane in range(window * sizes.lanes, (window + 1) * sizes.lanes, LANES):
            numbers, where = load(gradient, lane, zeros_16()), load(places, lane, zeros_16())
            for inside in range(pool * pool):
                x = sizes.width - 1 + 2 * sizes.padding - left - inside % pool
                position = (top + inside // pool) * sizes.columns + x
                place = position * sizes.lanes + lane - window * sizes.lanes
                store(unpooled, place, where_equal(where, np.float32(inside), numbers))


@compiled()
def _sort_by_channel(sizes, fired, starts, channels, corners, sorted_corners, ends, begins):
    """List by channel where in the unpooled gradient the positions that see a spike begin, for each row of the image.

    A channel has room for all its pixels. Row y of channel c begins at begins[y, c].
    """
    for c in range(sizes.channels):
        ends[c] = c * sizes.height * sizes.width
    for y in range(sizes.height):
        for c in range(sizes.channels):
            begins[y, c] = ends[c]
        for j in range(starts[y * sizes.width], starts[(y + 1) * sizes.width]):
            neuron = fired[j]
            end = ends[channels[neuron]]
            sorted_corners[end] = corners[neuron]
            ends[channels[neuron]] = end + 1
    for c in range(sizes.channels):
        begins[sizes.height, c] = ends[c]


@compiled()
def _add_by_spike(like, lane, sizes, sorted_corners, begins, unpooled, weight_grad):
    """Add to the gradients of a channel's row of weights, in registers, those of the positions that see its spikes."""
    wide_vectors()
    rows, width = sizes.pooled_height * sizes.pool, sizes.kernel * sizes.lanes
    for row in range(sizes.kernel):
        first, last = max(row - sizes.padding, 0), min(rows + row - sizes.padding, sizes.height)
        base = (sizes.padding - row) * sizes.columns * sizes.lanes + lane
        for c in range(sizes.channels if first < last else 0):
            place = (row * sizes.channels + c) * width + lane
            total = load(weight_grad, place, like)
            for j in range(begins[first, c], begins[last, c]):
                total = add(total, load(unpooled, sorted_corners[j] + base, like))
            store(weight_grad, place, total)


@compiled()
def _group(sizes, gradient, places, listed, scales, groups):
    """List outputs and their gradients by the position of their maximum; group g begins at groups[g]."""
    count = group = 0
    for window in range(sizes.pooled_height * sizes.pooled_width):
        for inside in range(sizes.pool * sizes.pool):
            groups[group] = count
            group += 1
            lane = 0
            while lane < sizes.lanes:
                if lane + 64 <= sizes.lanes:
                    bits = equal_bits(places, window * sizes.lanes + lane, np.uint8(inside), zeros_64())
                    wide = 64
                else:
                    bits = equal_bits(places, window * sizes.lanes + lane, np.uint8(inside), zeros_16())
                    wide = 16
                while bits:
                    o = lane + lowest_bit(bits)
                    bits &= bits - np.uint64(1)
                    if o < sizes.outputs:
                        listed[count] = o
                        scales[count] = gradient[window * sizes.lanes + o]
                        count += 1
                lane += wide
    groups[group] = count


@compiled()
def _add_by_output(like, column, row, sizes, weight, listed, scales, groups, padded):
    """Add the weights of each group's outputs to the patch that they see."""
    wide_vectors()
    pool, base = sizes.pool, row * sizes.outputs * sizes.row + column
    group = 0
    for window in range(sizes.pooled_height * sizes.pooled_width):
        top, left = window // sizes.pooled_width * pool, window % sizes.pooled_width * pool
        for inside in range(pool * pool):
            total = like
            for j in range(groups[group], groups[group + 1]):
                total = add_scaled(total, scales[j], load(weight, base + listed[j] * sizes.row, like))
            place = (top + inside // pool + row) * sizes.stride + (left + inside % pool) * sizes.channels + column
            store(padded, place, add(load(padded, place, like), total))
            group += 1


@compiled()
def _take_inside(sizes, padded, spike_grad):
    row = sizes.width * sizes.channels
    for y in range(sizes.height):
        source = padded[(y + sizes.padding) * sizes.stride + sizes.padding * sizes.channels :]
        target = spike_grad[y * row :]
        for i in range(row):
            target[i] = source[i]


_forward_on_threads, _backward_on_threads = on_all_threads(_forward_kernel), on_all_threads(_backward_kernel)


@compiled()
def launch_forward(num_threads, *arguments):
    """Run the forward pass on many threads."""
    _forward_on_threads(num_threads, arguments)


@compiled()
def launch_backward(num_threads, *arguments):
    """Run the backward pass on many threads."""
    _backward_on_threads(num_threads, arguments)
