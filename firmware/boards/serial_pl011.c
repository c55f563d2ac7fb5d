/* Arm's PrimeCell UART, PL011: Stellaris, RP2040. Source: Arm DDI 0183G, table 3-1. */
#include "device.h"

#define REGISTER(offset) (*(volatile uint32_t *)(uintptr_t)(STROP_SERIAL_BASE + (offset)))

enum { DATA = 0x0, FLAGS = 0x18, DIVIDER = 0x24, FRACTION = 0x28, LINE = 0x2c, CONTROL = 0x30 };
enum { RECEIVE_EMPTY = 0x10, SEND_FULL = 0x20, EIGHT_BITS_AND_FIFOS = 0x70, ENABLE_SEND_AND_RECEIVE = 0x301 };

void strop_serial_start(void)
{
    const uint32_t divider = (STROP_SERIAL_CLOCK_HZ * 4u + STROP_SERIAL_BAUD / 2) / STROP_SERIAL_BAUD; /* in 64ths */
    REGISTER(CONTROL) = 0;
    REGISTER(DIVIDER) = divider >> 6;
    REGISTER(FRACTION) = divider & 63u;
    REGISTER(LINE) = EIGHT_BITS_AND_FIFOS; /* which takes the divider, too */
    REGISTER(CONTROL) = ENABLE_SEND_AND_RECEIVE;
}

int strop_serial_get(void)
{
    return REGISTER(FLAGS) & RECEIVE_EMPTY ? -1 : (int)(REGISTER(DATA) & 0xffu);
}

void strop_serial_put(uint8_t byte)
{
    while (REGISTER(FLAGS) & SEND_FULL) {
    }
    REGISTER(DATA) = byte;
}
