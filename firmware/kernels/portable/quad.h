/* Four pixels a time on cores without SIMD: two pixels share a word, low + (high << 16), and one product with a weight
 * serves both. After two products the halves are parted before they can run over: with 32768 added the low sum is not
 * negative, so the upper half of the word is the high pixel's sum. It is added up alone; the words are added up too, and
 * give the low pixel's sum in the end: words - (high << 16). A channel's words start with what gives both pixels the bias less
 * what rounding adds. Pairs of weights of (-128, -128) would leave 16 bits. */
#ifndef STROP_QUAD_H
#define STROP_QUAD_H

#include "scaled_channel.h"

#define STROP_QUAD_ROUND 32768

/* What all channels of four pixels share. taps: of a channel in memory, even. at: where the other three pixels' outputs lie. */
typedef struct {
    int32_t taps, channels, low, high, at[3];
} strop_quad_block;

#endif
