/* A 16550 UART with byte registers. Source: TI PC16550D data sheet, table 2. */
#include "device.h"

#define REGISTER(number) (*(volatile uint8_t *)(uintptr_t)(STROP_SERIAL_BASE + (number)))

enum { DATA = 0, DIVIDER_HIGH = 1, FIFO = 2, LINE = 3, LINE_STATUS = 5, DIVIDER_ACCESS = 0x80, EIGHT_BITS = 3 };
enum { RECEIVED = 1, SEND_EMPTY = 0x20, FIFOS_ON_AND_CLEAR = 7 };

void strop_serial_start(void)
{
    const uint32_t divider = STROP_SERIAL_CLOCK_HZ / (16u * STROP_SERIAL_BAUD);
    REGISTER(LINE) = DIVIDER_ACCESS;
    REGISTER(DATA) = (uint8_t)divider;
    REGISTER(DIVIDER_HIGH) = (uint8_t)(divider >> 8);
    REGISTER(LINE) = EIGHT_BITS;
    REGISTER(FIFO) = FIFOS_ON_AND_CLEAR;
    /* What came before is gone; a read says that there is room again, which QEMU waits for. */
    (void)REGISTER(DATA);
}

int strop_serial_get(void)
{
    return REGISTER(LINE_STATUS) & RECEIVED ? REGISTER(DATA) : -1;
}

void strop_serial_put(uint8_t byte)
{
    while (!(REGISTER(LINE_STATUS) & SEND_EMPTY)) {
    }
    REGISTER(DATA) = byte;
}
