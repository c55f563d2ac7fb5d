/* Running sums of int8 along one axis, as TensorFlow Lite Micro computes them: sums start at minus the zero point.
 * Layout: [outer][size][inner]. No scratch; may run in place. Cost: about 26 instructions per element. */
#ifndef STROP_CUMSUM_S8_H
#define STROP_CUMSUM_S8_H

#include "fixed_point.h"

/* start: minus the zero point, scaled as an input. exclusive: a sum leaves out its own element; reverse: from the end. */
typedef struct {
    int32_t outer, size, inner, exclusive, reverse;
    int32_t in_offset, out_offset, left_shift, start;
    strop_factor in, out;
} strop_cumsum_shape;

STROP_KERNEL void strop_cumsum_s8(const int8_t *in, int8_t *out, const strop_cumsum_shape *s) {
    for (int32_t line = 0; line < s->outer * s->inner; ++line) {
        const int32_t first = line / s->inner * s->size * s->inner + line % s->inner;
        uint32_t sum = (uint32_t)s->start;
        for (int32_t i = 0; i < s->size; ++i) {
            const int32_t at = first + (s->reverse ? s->size - 1 - i : i) * s->inner;
            const int32_t centred = (in[at] + s->in_offset) * (1 << s->left_shift);
            const uint32_t next = sum + (uint32_t)strop_multiply(centred, s->in.mantissa, s->in.shift);
            const int32_t total = (int32_t)(s->exclusive ? sum : next);
            const int32_t y = strop_multiply(total, s->out.mantissa, s->out.shift) + s->out_offset;
            out[at] = (int8_t)strop_clamp(y, INT8_MIN, INT8_MAX);
            sum = next;
        }
    }
}

#endif
