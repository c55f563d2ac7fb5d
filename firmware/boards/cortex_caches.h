/* Instruction and data cache of Cortex-M7 and M85, emptied of what they hold after power-up, and on. Their data cache has four ways and
 * lines of 32 bytes. Sources: ARMv7-M ARM B4.8 (CCR, CCSIDR, CSSELR, ICIALLU, DCISW); Cortex-M7 TRM 5.2, Cortex-M85 TRM 9.2. */
#ifndef STROP_CORTEX_CACHES_H
#define STROP_CORTEX_CACHES_H

#include "registers.h"

static inline void strop_caches_on(void)
{
    const uint32_t ccr = 0xe000ed14, ccsidr = 0xe000ed80, csselr = 0xe000ed84, iciallu = 0xe000ef50, dcisw = 0xe000ef60;
    strop_write(csselr, 0);
    __asm__ volatile("dsb" ::: "memory");
    const uint32_t last = (*strop_word(ccsidr) >> 13 & 0x7fff) << 5;
    uint32_t line = 0;
    do {
        do {
            strop_write(dcisw, line);
            line += 1u << 30; /* the next way, after the last one the first again */
        } while (line >> 30 != 0);
        line += 32;
    } while (line <= last);
    strop_write(iciallu, 0);
    __asm__ volatile("dsb\n\tisb" ::: "memory");
    strop_set(ccr, 1u << 17 | 1u << 16); /* IC, DC */
    __asm__ volatile("dsb\n\tisb" ::: "memory");
}

#endif
