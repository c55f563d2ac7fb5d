/* The USART and LPUART of STM32 F0, F3, F7, G, H, L4, L5 and U, with a receive and a send register of their own.
 * Sources: ST RM0432, 42.8 and 43.7; RM0385, 31.8; RM0455, 53.8; RM0456, 66.8. */
#include "device.h"
#include "registers.h"

enum { CONTROL = 0x0, CONTROL_3 = 0x8, DIVIDER = 0xc, STATUS = 0x1c, RECEIVE = 0x24, SEND = 0x28 };
enum { ENABLE_SEND_AND_RECEIVE = 0xd, NO_OVERRUN = 1 << 12, RECEIVED = 1 << 5, SEND_EMPTY = 1 << 7 };

/* LPUART1 of STM32L4 divides in 256ths. RM0432, 43.4.4. */
enum { UNITS = STROP_SERIAL_BASE == 0x40008000u ? 256 : 1 };

void strop_serial_start(void)
{
    const uint64_t units = (uint64_t)STROP_SERIAL_CLOCK_HZ * (uint64_t)UNITS;
    strop_write(STROP_SERIAL_BASE + DIVIDER, (uint32_t)((units + STROP_SERIAL_BAUD / 2) / STROP_SERIAL_BAUD));
    strop_write(STROP_SERIAL_BASE + CONTROL_3, NO_OVERRUN);
    strop_write(STROP_SERIAL_BASE + CONTROL, ENABLE_SEND_AND_RECEIVE);
}

int strop_serial_get(void)
{
    if (!(*strop_word(STROP_SERIAL_BASE + STATUS) & RECEIVED)) {
        return -1;
    }
    return (int)(*strop_word(STROP_SERIAL_BASE + RECEIVE) & 0xffu);
}

void strop_serial_put(uint8_t byte)
{
    strop_await(STROP_SERIAL_BASE + STATUS, SEND_EMPTY, SEND_EMPTY);
    strop_write(STROP_SERIAL_BASE + SEND, byte);
}
