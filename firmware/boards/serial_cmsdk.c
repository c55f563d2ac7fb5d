/* The UART of Arm's Cortex-M System Design Kit. Source: Arm DDI 0479D, table 4-3. */
#include "device.h"

#define REGISTER(offset) (*(volatile uint32_t *)(uintptr_t)(STROP_SERIAL_BASE + (offset)))

enum { DATA = 0x0, STATE = 0x4, CONTROL = 0x8, DIVIDER = 0x10, SEND_FULL = 1, RECEIVED = 2, SEND_AND_RECEIVE = 3 };

void strop_serial_start(void)
{
    REGISTER(DIVIDER) = STROP_SERIAL_CLOCK_HZ / STROP_SERIAL_BAUD;
    REGISTER(CONTROL) = SEND_AND_RECEIVE;
}

int strop_serial_get(void)
{
    return REGISTER(STATE) & RECEIVED ? (int)(REGISTER(DATA) & 0xffu) : -1;
}

void strop_serial_put(uint8_t byte)
{
    while (REGISTER(STATE) & SEND_FULL) {
    }
    REGISTER(DATA) = byte;
}
