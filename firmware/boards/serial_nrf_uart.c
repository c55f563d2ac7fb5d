/* The UART of nRF51 and nRF52. Sources: nRF51 Series Reference Manual 3.0, 28.10; nRF52832 Product Specification 1.4, 35.10. */
#include "device.h"

#define REGISTER(offset) (*(volatile uint32_t *)(uintptr_t)(STROP_SERIAL_BASE + (offset)))

enum { START_RECEIVE = 0x0, START_SEND = 0x8, RECEIVED = 0x108, SENT = 0x11c, ENABLE = 0x500, RECEIVE = 0x518, SEND = 0x51c };
enum { RATE = 0x524, ON = 4 };

void strop_serial_start(void)
{
    /* In 2^-32 of the clock, of which the lowest 12 bits are no part of the register's documented values. */
    REGISTER(RATE) = (uint32_t)(((uint64_t)STROP_SERIAL_BAUD << 32) / STROP_SERIAL_CLOCK_HZ + 0x800u) & 0xfffff000u;
    REGISTER(ENABLE) = ON;
    REGISTER(START_RECEIVE) = 1;
    REGISTER(START_SEND) = 1;
}

int strop_serial_get(void)
{
    if (!REGISTER(RECEIVED)) {
        return -1;
    }
    REGISTER(RECEIVED) = 0;
    return (int)(REGISTER(RECEIVE) & 0xffu);
}

void strop_serial_put(uint8_t byte)
{
    REGISTER(SENT) = 0;
    REGISTER(SEND) = byte;
    while (!REGISTER(SENT)) {
    }
}
