/* Registers in memory, for set-ups and drivers whose reference manuals name them by address. */
#ifndef STROP_REGISTERS_H
#define STROP_REGISTERS_H

#include <stdint.h>

static inline volatile uint32_t *strop_word(uint32_t address)
{
    return (volatile uint32_t *)(uintptr_t)address;
}

static inline void strop_write(uint32_t address, uint32_t value)
{
    *strop_word(address) = value;
}

static inline void strop_write_half(uint32_t address, uint32_t value)
{
    *(volatile uint16_t *)(uintptr_t)address = (uint16_t)value;
}

static inline void strop_write_byte(uint32_t address, uint32_t value)
{
    *(volatile uint8_t *)(uintptr_t)address = (uint8_t)value;
}

/* A block of registers whose address stays in a processor register: short instructions reach it, and no constant per access. */
static inline uint32_t strop_block(uint32_t address)
{
    __asm__("" : "+r"(address));
    return address;
}

/* Fields under the mask become the bits; the others stay. */
static inline void strop_change(uint32_t address, uint32_t mask, uint32_t bits)
{
    *strop_word(address) = (*strop_word(address) & ~mask) | bits;
}

static inline void strop_set(uint32_t address, uint32_t bits)
{
    *strop_word(address) |= bits;
}

static inline void strop_await(uint32_t address, uint32_t mask, uint32_t bits)
{
    while ((*strop_word(address) & mask) != bits) {
    }
}

static inline void strop_await_byte(uint32_t address, uint32_t mask, uint32_t bits)
{
    while ((*(volatile uint8_t *)(uintptr_t)address & mask) != bits) {
    }
}

#endif
