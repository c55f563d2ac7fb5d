/* Sixteen output channels of the pixels of a band (dot.h). Activations are unsigned, offset by 128; the biases take that back.
 * With AVX512-VNNI, of which the processor is asked: eight pixels x sixteen channels, eight sums and one block of weights in
 * registers, 2.1 instructions per 64 products, 19 per sixteen outputs. With AVX2: four pixels x sixteen channels; bytes are parted
 * into even and odd 16-bit lanes, of which pairs are multiplied exactly; 13 instructions per 64 products, 40 per sixteen outputs. */
#ifndef STROP_DOT_BLOCK_H
#define STROP_DOT_BLOCK_H

#include "dot.h"
#include "dot_block_avx2.h"
#include "dot_block_vnni.h"

/* The faster one that this processor has. Builds for one that has it do not ask. */
STROP_KERNEL strop_dot_block strop_dot_block_of(void) {
#if defined(__AVX512VNNI__) && defined(__AVX512BW__) && defined(__AVX512VL__)
    return strop_dot_block_vnni;
#else
    const bool wide = __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
    return wide && __builtin_cpu_supports("avx512vnni") ? strop_dot_block_vnni : strop_dot_block_avx2;
#endif
}

#endif
