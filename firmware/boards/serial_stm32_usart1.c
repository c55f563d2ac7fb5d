/* The USART of STM32 F1, F2, F4 and L1, with one status and one data register. Sources: ST RM0008, 27.6; RM0090, 30.6. */
#include "device.h"

#define REGISTER(offset) (*(volatile uint32_t *)(uintptr_t)(STROP_SERIAL_BASE + (offset)))

enum { STATUS = 0x0, DATA = 0x4, DIVIDER = 0x8, CONTROL = 0xc, RECEIVED = 0x20, SEND_EMPTY = 0x80 };
enum { ENABLE_SEND_AND_RECEIVE = 0x200c };

void strop_serial_start(void)
{
    REGISTER(DIVIDER) = (STROP_SERIAL_CLOCK_HZ + STROP_SERIAL_BAUD / 2) / STROP_SERIAL_BAUD;
    REGISTER(CONTROL) = ENABLE_SEND_AND_RECEIVE;
}

/* The two reads also clear an overrun. */
int strop_serial_get(void)
{
    return REGISTER(STATUS) & RECEIVED ? (int)(REGISTER(DATA) & 0xffu) : -1;
}

void strop_serial_put(uint8_t byte)
{
    while (!(REGISTER(STATUS) & SEND_EMPTY)) {
    }
    REGISTER(DATA) = byte;
}
