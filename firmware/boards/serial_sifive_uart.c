/* SiFive's UART. Source: SiFive FE310-G000 Manual v3p2, table 18.1. */
#include "device.h"

#define REGISTER(offset) (*(volatile uint32_t *)(uintptr_t)(STROP_SERIAL_BASE + (offset)))

enum { SEND = 0x0, RECEIVE = 0x4, SEND_CONTROL = 0x8, RECEIVE_CONTROL = 0xc, DIVIDER = 0x18, ON = 1 };
static const uint32_t full_or_empty = 0x80000000u;

void strop_serial_start(void)
{
    REGISTER(DIVIDER) = (STROP_SERIAL_CLOCK_HZ + STROP_SERIAL_BAUD / 2) / STROP_SERIAL_BAUD - 1;
    REGISTER(SEND_CONTROL) = ON;
    REGISTER(RECEIVE_CONTROL) = ON;
}

/* The byte and its absence come by the same read, which takes it. */
int strop_serial_get(void)
{
    const uint32_t found = REGISTER(RECEIVE);
    return found & full_or_empty ? -1 : (int)(found & 0xffu);
}

void strop_serial_put(uint8_t byte)
{
    while (REGISTER(SEND) & full_or_empty) {
    }
    REGISTER(SEND) = byte;
}
