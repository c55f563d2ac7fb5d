/* A pin of STM32: high, and low for a moment at each mark. Source: ST RM0432, 8.4; RM0385, 6.4; RM0456, 13.4 (GPIO). */
#include "device.h"
#include "registers.h"

enum { MODER = 0x0, BSRR = 0x18 };

void strop_pin_start(void)
{
    strop_set(STROP_PIN_CLOCK, 1u << STROP_PIN_CLOCK_BIT);
    (void)*strop_word(STROP_PIN_CLOCK); /* a port answers two cycles after its clock is on */
    strop_write(STROP_PIN_BASE + BSRR, 1u << STROP_PIN_NUMBER);
    strop_change(STROP_PIN_BASE + MODER, 3u << 2 * STROP_PIN_NUMBER, 1u << 2 * STROP_PIN_NUMBER);
}

void strop_pin_put(int high)
{
    strop_write(STROP_PIN_BASE + BSRR, 1u << (high ? STROP_PIN_NUMBER : STROP_PIN_NUMBER + 16));
}
