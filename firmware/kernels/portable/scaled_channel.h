/* The parameters of an output channel on cores without SIMD: y = (sum * m >> 31) + addend >> shift with rounding, shift > 0,
 * the zero point in the addend, |sum| < 2^29. */
#ifndef STROP_SCALED_CHANNEL_H
#define STROP_SCALED_CHANNEL_H

#include "conv_2d.h"

/* bias: holds the input's zero point. words: quad.h. mantissa: 2 * m - 2^32, or 0 in a channel whose sums are 0. */
typedef struct {
    int32_t bias, words, mantissa, addend, shift;
} strop_scaled_channel;

#endif
