/* Quantized addition and subtraction of two int8 tensors of one shape with the vector extension, eight elements at a time.
 * Cost: 3 instructions per element, about 1 more for every factor that is not one half and for outputs below the zero point.
 * No scratch. */
#ifndef STROP_ADD_MVE_H
#define STROP_ADD_MVE_H

#include <arm_mve.h>

#include "common.h"

/* The offsets are minus the zero points of the inputs and the zero point of the output. Shifts are not positive.
 * Inputs are shifted left by 20. */
typedef struct {
    int32_t elements, a_offset, b_offset, out_offset, sign;
    int32_t a_mantissa, a_shift, b_mantissa, b_shift, out_mantissa, out_shift, act_min, act_max;
} strop_add_mve_shape;

/* Eight values as 32-bit vectors of the even and the odd ones. */
typedef struct {
    int32x4_t even, odd;
} strop_eight_mve;

/* x * mantissa * 2^(shift - 31), rounded twice; shift <= 0. away: negative halves matter. */
STROP_KERNEL int32x4_t strop_scale_mve(int32x4_t x, int32_t mantissa, int32_t shift, bool away) {
    const int32x4_t high = vqrdmulhq_n_s32(x, mantissa);
    if (shift == 0) {
        return high;
    }
    return vrshlq_n_s32(away ? vaddq_s32(high, vshrq_n_s32(high, 31)) : high, shift);
}

/* Eight stored values centred, shifted left by 20 and scaled; one half is a smaller shift. */
STROP_KERNEL strop_eight_mve strop_common_mve(int16x8_t x, int32_t offset, int32_t mantissa, int32_t shift) {
    const int16x8_t centred = vmlasq_n_s16(x, vdupq_n_s16(16), (int16_t)(16 * offset));
    if (mantissa == 1 << 30 && shift == 0) {
        const strop_eight_mve halves = {vshllbq_n_s16(centred, 15), vshlltq_n_s16(centred, 15)};
        return halves;
    }
    const strop_eight_mve scaled = {strop_scale_mve(vshllbq_n_s16(centred, 16), mantissa, shift, true),
                                    strop_scale_mve(vshlltq_n_s16(centred, 16), mantissa, shift, true)};
    return scaled;
}

STROP_KERNEL int16x8_t strop_add_eight_mve(int16x8_t a, int16x8_t b, const strop_add_mve_shape *s) {
    const bool away = s->act_min < s->out_offset;
    const strop_eight_mve x = strop_common_mve(a, s->a_offset, s->a_mantissa, s->a_shift);
    const strop_eight_mve y = strop_common_mve(b, s->b_offset, s->b_mantissa, s->b_shift);
    const int32x4_t even = s->sign > 0 ? vaddq_s32(x.even, y.even) : vsubq_s32(x.even, y.even);
    const int32x4_t odd = s->sign > 0 ? vaddq_s32(x.odd, y.odd) : vsubq_s32(x.odd, y.odd);
    const int16x8_t low = vqmovnbq_s32(vdupq_n_s16(0), strop_scale_mve(even, s->out_mantissa, s->out_shift, away));
    const int16x8_t both = vqmovntq_s32(low, strop_scale_mve(odd, s->out_mantissa, s->out_shift, away));
    const int16x8_t z = vqaddq_n_s16(both, (int16_t)s->out_offset);
    return vmaxq_s16(vminq_s16(z, vdupq_n_s16((int16_t)s->act_max)), vdupq_n_s16((int16_t)s->act_min));
}

STROP_KERNEL void strop_add_mve(const int8_t *a, const int8_t *b, int8_t *out, const strop_add_mve_shape *s) {
    int32_t left = s->elements;
    for (; left >= 8; left -= 8, a += 8, b += 8, out += 8) {
        vstrbq_s16(out, strop_add_eight_mve(vldrbq_s16(a), vldrbq_s16(b), s));
    }
    if (left > 0) {
        const mve_pred16_t lanes = vctp16q((uint32_t)left);
        vstrbq_p_s16(out, strop_add_eight_mve(vldrbq_z_s16(a, lanes), vldrbq_z_s16(b, lanes), s), lanes);
    }
}

#endif
