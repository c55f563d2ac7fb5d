/* Instruction and data cache of Cortex-M7 and M85, empty and on. Sources: ARMv7-M ARM B4.8, ARMv8-M ARM D1.2 (CCR, CCSIDR, CSSELR,
 * ICIALLU, DCISW, CLIDR). The caches hold garbage after power-up, so that both are invalidated first. */
#ifndef STROP_CORTEX_CACHES_H
#define STROP_CORTEX_CACHES_H

#include "registers.h"

static inline void strop_caches_on(void)
{
    const uint32_t ccr = 0xe000ed14, ccsidr = 0xe000ed80, csselr = 0xe000ed84, iciallu = 0xe000ef50, dcisw = 0xe000ef60;
    strop_write(csselr, 0);
    __asm__ volatile("dsb" ::: "memory");
    const uint32_t shape = *strop_word(ccsidr), sets = (shape >> 13 & 0x7fff) + 1, ways = (shape >> 3 & 0x3ff) + 1;
    const uint32_t set_shift = (shape & 7) + 4; /* log2 of the bytes of a line */
    uint32_t way_shift = 32;
    for (uint32_t span = 1; span < ways; span += span) {
        --way_shift;
    }
    for (uint32_t way = 0; way < ways; ++way) {
        for (uint32_t set = 0; set < sets; ++set) {
            strop_write(dcisw, (way_shift < 32 ? way << way_shift : 0) | set << set_shift);
        }
    }
    strop_write(iciallu, 0);
    __asm__ volatile("dsb\n\tisb" ::: "memory");
    strop_set(ccr, 1u << 17 | 1u << 16); /* IC, DC */
    __asm__ volatile("dsb\n\tisb" ::: "memory");
}

#endif
