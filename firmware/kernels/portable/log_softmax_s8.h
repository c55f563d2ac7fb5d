/* Log-softmax over rows of int8, output scale 1/16 and zero point 127. No scratch. Cost: about 135 instructions per element. */
#ifndef STROP_LOG_SOFTMAX_S8_H
#define STROP_LOG_SOFTMAX_S8_H

#include "softmax.h"

/* reverse: brings Q5.26 back to differences of inputs. */
typedef struct {
    strop_softmax_shape softmax;
    strop_factor reverse;
} strop_log_softmax_shape;

STROP_KERNEL void strop_log_softmax_s8(const int8_t *restrict in, int8_t *restrict out, const strop_log_softmax_shape *shape) {
    const strop_softmax_shape *const s = &shape->softmax;
    for (int32_t row = 0; row < s->rows; ++row, in += s->depth, out += s->depth) {
        const int32_t top = strop_softmax_top(in, s->depth);
        const int32_t logarithm = strop_log_q12(strop_softmax_sum(in, top, s));
        const int32_t reach = strop_multiply(logarithm + INT32_MIN, shape->reverse.mantissa, shape->reverse.shift);
        const int32_t smallest = strop_max(s->smallest_difference - 1, reach);
        for (int32_t i = 0; i < s->depth; ++i) {
            int32_t y = INT8_MIN;
            if (in[i] - top > smallest) {
                const int32_t scaled = strop_multiply(in[i] - top, s->mantissa, s->shift);
                y = strop_rounding_shift_right(scaled - logarithm, 22) + INT8_MAX;
            }
            out[i] = (int8_t)strop_clamp(y, INT8_MIN, INT8_MAX);
        }
    }
}

#endif
