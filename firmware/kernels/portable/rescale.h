/* Elementwise functions of one quantized tensor that are lines through zero: requantize, relu, leaky_relu, abs.
 * Any integer types. Cost: about 10 to 17 instructions per element.
 * No scratch; may run in place where the types have one size. */
#ifndef STROP_RESCALE_H
#define STROP_RESCALE_H

#include "element.h"
#include "fixed_point.h"

/* positive, negative: factors of centred inputs from 0 up and below 0; magnitude: take absolute values first. */
typedef struct {
    int32_t elements, in_offset, out_offset, act_min, act_max, magnitude;
    strop_factor positive, negative;
    strop_type in_type, out_type;
} strop_rescale_shape;

STROP_KERNEL void strop_rescale(const void *in, void *out, const strop_rescale_shape *s) {
    for (int32_t i = 0; i < s->elements; ++i) {
        const int32_t centred = (int32_t)((uint32_t)strop_load(in, i, s->in_type) + (uint32_t)s->in_offset);
        const int32_t x = s->magnitude && centred < 0 ? -centred : centred;
        const strop_factor factor = x < 0 ? s->negative : s->positive;
        const int32_t y = strop_multiply(x, factor.mantissa, factor.shift) + s->out_offset;
        strop_store(out, i, s->out_type, strop_clamp(y, s->act_min, s->act_max));
    }
}

#endif
