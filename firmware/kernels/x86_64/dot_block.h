/* Sixteen output channels of the pixels of a band (dot.h). Activations are unsigned, offset by 128; the biases take that back.
 * With AVX512-VNNI (processor.h chooses): eight pixels x sixteen channels, eight sums and one block of weights in
 * registers, 2.1 instructions per 64 products, 19 per sixteen outputs. With AVX2: four pixels x sixteen channels; bytes are parted
 * into even and odd 16-bit lanes, of which pairs are multiplied exactly; 13 instructions per 64 products, 40 per sixteen outputs. */
#ifndef STROP_DOT_BLOCK_H
#define STROP_DOT_BLOCK_H

#include "dot_block_avx2.h"
#include "dot_block_vnni.h"
#include "processor.h"

STROP_CHOOSE(strop_dot_block)

#endif
