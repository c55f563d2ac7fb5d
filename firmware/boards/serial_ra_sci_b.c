/* The SCI_B of Renesas RA8 as a UART without its FIFO. Source: Renesas R01UH0995 (RA8D1), 31.2 and table 31.10. */
#include "device.h"
#include "registers.h"

enum { RECEIVE = 0x0, SEND = 0x4, CONTROL_0 = 0x8, CONTROL_1 = 0xc, CONTROL_2 = 0x10, CONTROL_3 = 0x14, STATUS = 0x48, CLEAR = 0x68 };
enum { RECEIVE_AND_SEND = 0x11, DOUBLED_RATE = 0x10, EIGHT_BITS = 2 << 8, LOW_BIT_FIRST = 1 << 12, START_BY_EDGE = 1 << 15 };
enum { SEND_EMPTY = 1 << 29 };
static const uint32_t received = 0x80000000u, received_or_broken = 0x99000000u; /* RDRF, FER, PER, ORER */

/* BGDM: 16 cycles of the clock a bit, times BRR + 1. */
void strop_serial_start(void)
{
    const uint32_t cycles = 16u * STROP_SERIAL_BAUD, rate = (STROP_SERIAL_CLOCK_HZ + cycles / 2) / cycles - 1;
    const uint32_t serial = strop_block(STROP_SERIAL_BASE);
    strop_write(serial + CONTROL_0, 0);
    strop_write(serial + CONTROL_3, EIGHT_BITS | LOW_BIT_FIRST | START_BY_EDGE);
    strop_write(serial + CONTROL_2, DOUBLED_RATE | rate << 8);
    strop_write(serial + CONTROL_1, 0);
    strop_write(serial + CLEAR, received_or_broken);
    strop_write(serial + CONTROL_0, RECEIVE_AND_SEND);
}

/* Flags are cleared by CFCLR only. */
int strop_serial_get(void)
{
    const uint32_t serial = strop_block(STROP_SERIAL_BASE), status = *strop_word(serial + STATUS) & received_or_broken;
    int byte = -1;
    if (status != 0) {
        const int sent = *(volatile uint8_t *)(uintptr_t)(serial + RECEIVE);
        strop_write(serial + CLEAR, received_or_broken);
        byte = status & received ? sent : -1;
    }
    return byte;
}

/* Cleared before the byte goes, which may leave for the shift register at once. */
void strop_serial_put(uint8_t byte)
{
    const uint32_t serial = strop_block(STROP_SERIAL_BASE);
    strop_await(serial + STATUS, SEND_EMPTY, SEND_EMPTY);
    strop_write(serial + CLEAR, SEND_EMPTY);
    strop_write_byte(serial + SEND, byte);
}
