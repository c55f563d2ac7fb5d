/* The UART of ESP32-C3, whose divider has sixteenths. Source: Espressif ESP32-C3 Technical Reference Manual 1.1, 26.5 and 26.6. */
#include "device.h"
#include "registers.h"

enum { FIFO = 0x0, DIVIDER = 0x14, STATUS = 0x1c, CONTROL = 0x20, CLOCK = 0x78, UPDATE = 0x80 };
enum { EIGHT_BITS_ONE_STOP = 0x1c, RESET_FIFOS = 3 << 17, FIFO_BYTES = 128 };
enum { FROM_CRYSTAL = 3 << 20, CLOCKS_ON = 0xd << 22, BY_1 = 0, RECEIVED = 0x3ff, SENDING = 0x3ff << 16 };
static const uint32_t update = 0x80000000u;

static void take_over(void)
{
    strop_write(STROP_SERIAL_BASE + UPDATE, update);
    strop_await(STROP_SERIAL_BASE + UPDATE, update, 0);
}

void strop_serial_start(void)
{
    const uint32_t sixteenths = (uint32_t)(((uint64_t)STROP_SERIAL_CLOCK_HZ * 16 + STROP_SERIAL_BAUD / 2) / STROP_SERIAL_BAUD);
    strop_write(STROP_SERIAL_BASE + CLOCK, FROM_CRYSTAL | CLOCKS_ON | BY_1);
    strop_write(STROP_SERIAL_BASE + DIVIDER, (sixteenths & 15u) << 20 | sixteenths >> 4);
    strop_write(STROP_SERIAL_BASE + CONTROL, EIGHT_BITS_ONE_STOP | RESET_FIFOS);
    take_over();
    strop_write(STROP_SERIAL_BASE + CONTROL, EIGHT_BITS_ONE_STOP);
    take_over();
}

int strop_serial_get(void)
{
    if (!(*strop_word(STROP_SERIAL_BASE + STATUS) & RECEIVED)) {
        return -1;
    }
    return (int)(*strop_word(STROP_SERIAL_BASE + FIFO) & 0xffu);
}

void strop_serial_put(uint8_t byte)
{
    while ((*strop_word(STROP_SERIAL_BASE + STATUS) & SENDING) >> 16 >= FIFO_BYTES) {
    }
    strop_write(STROP_SERIAL_BASE + FIFO, byte);
}
