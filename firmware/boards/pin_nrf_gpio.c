/* A pin of nRF52: high, and low for a moment at each mark. Source: nRF52840 Product Specification 1.7, GPIO 6.9.2. */
#include "device.h"
#include "registers.h"

enum { OUTSET = 0x508, OUTCLR = 0x50c, PIN_CNF = 0x700, OUTPUT = 3 };

void strop_pin_start(void)
{
    strop_pin_put(1);
    strop_write(STROP_PIN_BASE + PIN_CNF + 4 * STROP_PIN_NUMBER, OUTPUT);
}

void strop_pin_put(int high)
{
    strop_write(STROP_PIN_BASE + (high ? OUTSET : OUTCLR), 1u << STROP_PIN_NUMBER);
}
