/* The watchdog timer of Renesas RA8 in register start mode, as erased option-setting memory leaves it, clocked by PCLKB. Its periods are
 * 1,024, 4,096, 8,192 and 16,384 of 512 or 8,192 clocks: the shortest that is long enough is taken. Source: Renesas R01UH0995 RA8D1
 * User's Manual: Hardware (Watchdog Timer). */
#include "device.h"
#include "registers.h"

enum { REFRESH = 0x0, CONTROL = 0x2, RESET_CONTROL = 0x6, NO_WINDOW = 3 << 12 | 3 << 8, RESETS = 0x80, PERIODS = 4 };
enum { BY_512 = 6, BY_8192 = 8 };

void strop_watchdog_start(void)
{
    static const uint16_t units[PERIODS] = {1, 4, 8, 16}; /* of 1,024 */
    const uint32_t ticks = STROP_WATCHDOG_MS * (STROP_WATCHDOG_CLOCK_HZ / 1000u);
    const int slow = ticks > 16u * 1024u * 512u;
    const uint32_t unit = slow ? 8192u * 1024u : 512u * 1024u;
    uint32_t period = 0;
    while (period < PERIODS - 1 && units[period] * unit < ticks) {
        ++period;
    }
    strop_write_byte(STROP_WATCHDOG_BASE + RESET_CONTROL, RESETS);
    strop_write_half(STROP_WATCHDOG_BASE + CONTROL, NO_WINDOW | (uint32_t)(slow ? BY_8192 : BY_512) << 4 | period);
    strop_watchdog_feed();
}

void strop_watchdog_feed(void)
{
    strop_write_byte(STROP_WATCHDOG_BASE + REFRESH, 0);
    strop_write_byte(STROP_WATCHDOG_BASE + REFRESH, 0xff);
}
