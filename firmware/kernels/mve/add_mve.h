/* Quantized addition and subtraction of two int8 tensors of one shape with the vector extension, four elements at a time.
 * Cost: 6 instructions per element. No scratch. */
#ifndef STROP_ADD_MVE_H
#define STROP_ADD_MVE_H

#include <arm_mve.h>

#include "common.h"

/* The offsets are minus the zero points of the inputs and the zero point of the output. Shifts are not positive. */
typedef struct {
    int32_t elements, a_offset, b_offset, out_offset, left_shift, sign;
    int32_t a_mantissa, a_shift, b_mantissa, b_shift, out_mantissa, out_shift, act_min, act_max;
} strop_add_mve_shape;

/* x * mantissa * 2^(shift - 31), rounded twice; shift <= 0. */
STROP_KERNEL int32x4_t strop_scale_mve(int32x4_t x, int32_t mantissa, int32_t shift) {
    const int32x4_t high = vqrdmulhq_n_s32(x, mantissa);
    return shift == 0 ? high : vrshlq_n_s32(vqaddq_s32(high, vshrq_n_s32(high, 31)), shift);
}

/* Four stored values centred, shifted left and scaled. */
STROP_KERNEL int32x4_t strop_common_mve(int32x4_t x, int32_t offset, int32_t mantissa, int32_t shift,
                                        const strop_add_mve_shape *s) {
    return strop_scale_mve(vmulq_n_s32(vaddq_n_s32(x, offset), 1 << s->left_shift), mantissa, shift);
}

STROP_KERNEL int32x4_t strop_add_four_mve(int32x4_t a, int32x4_t b, const strop_add_mve_shape *s) {
    const int32x4_t x = strop_common_mve(a, s->a_offset, s->a_mantissa, s->a_shift, s);
    const int32x4_t y = strop_common_mve(b, s->b_offset, s->b_mantissa, s->b_shift, s);
    const int32x4_t sum = s->sign > 0 ? vaddq_s32(x, y) : vsubq_s32(x, y);
    const int32x4_t z = vaddq_n_s32(strop_scale_mve(sum, s->out_mantissa, s->out_shift), s->out_offset);
    return vmaxq_s32(vminq_s32(z, vdupq_n_s32(s->act_max)), vdupq_n_s32(s->act_min));
}

STROP_KERNEL void strop_add_mve(const int8_t *a, const int8_t *b, int8_t *out, const strop_add_mve_shape *s) {
    int32_t left = s->elements;
    for (; left >= 4; left -= 4, a += 4, b += 4, out += 4) {
        vstrbq_s32(out, strop_add_four_mve(vldrbq_s32(a), vldrbq_s32(b), s));
    }
    if (left > 0) {
        const mve_pred16_t lanes = vctp32q((uint32_t)left);
        vstrbq_p_s32(out, strop_add_four_mve(vldrbq_z_s32(a, lanes), vldrbq_z_s32(b, lanes), s), lanes);
    }
}

#endif
