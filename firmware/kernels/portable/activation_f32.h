/* The clamp that is fused onto the end of float operations. NaN passes. */
#ifndef STROP_ACTIVATION_F32_H
#define STROP_ACTIVATION_F32_H

#include "common.h"

/* clamped: 0 leaves values as they are; low and high may be infinite. */
typedef struct {
    int32_t clamped;
    float low, high;
} strop_activation_f32;

STROP_INLINE float strop_activate_f32(float x, const strop_activation_f32 *activation) {
    if (!activation->clamped) {
        return x;
    }
    const float above = x < activation->low ? activation->low : x;
    return above > activation->high ? activation->high : above;
}

#endif
