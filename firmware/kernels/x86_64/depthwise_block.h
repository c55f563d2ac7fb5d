/* Thirty-two channels of a depthwise convolution for the pixels of a band (dot.h: runs are taps, run_count counts fours of them).
 * Activations are unsigned, offset by 128; the biases take that back. Two steps of interleaving bring four taps of a channel into
 * one lane of 32 bits; four registers then hold channels 0 to 3 and 16 to 19, 4 to 7 and 20 to 23 and so on. Biases, mantissas and
 * shifts lie in that order, 128 bytes each, then for every four taps the 128 weights.
 * With AVX512-VNNI: 16 instructions per four taps, 40 per thirty-two outputs. With AVX2: 44 and 70. */
#ifndef STROP_DEPTHWISE_BLOCK_H
#define STROP_DEPTHWISE_BLOCK_H

#include "depthwise_block_avx2.h"
#include "depthwise_block_vnni.h"
#include "processor.h"

#define STROP_TAPS_LANES 32

/* Bytes of the stream of a block. */
STROP_KERNEL int32_t strop_taps_block_bytes(int32_t runs) { return 384 + 128 * runs; }

STROP_CHOOSE(strop_depthwise_block)

#endif
