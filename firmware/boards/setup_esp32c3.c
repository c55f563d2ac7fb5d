/* ESP32-C3-DevKitM-1: 160 MHz from the 40 MHz crystal through the 480 MHz PLL; UART0 at GPIO21 and GPIO20 (USB bridge), which are its pins
 * after reset. Sources: Espressif ESP32-C3 Technical Reference Manual 1.1 (clocks 6.2.4, low-power management 9.8, timer watchdogs 11.5,
 * watchdogs 12.3, system registers 16.4); for the PLL's analogue side, which it leaves out, the headers of ESP-IDF 5.1. */
#include "device.h"
#include "registers.h"

enum { RTC_OPTIONS0 = 0x60008000, RTC_WDTCONFIG0 = 0x60008090, RTC_WDTWPROTECT = 0x600080a8 }; /* 9.8 */
enum { RTC_SWD_CONF = 0x600080ac, RTC_SWD_WPROTECT = 0x600080b0 };                             /* 9.8 */
enum { TIMG0_WDTCONFIG0 = 0x6001f048, TIMG0_WDTWPROTECT = 0x6001f064 };                        /* 11.5 */
enum { SYSTEM_CPU_PER_CONF = 0x600c0008, SYSTEM_SYSCLK_CONF = 0x600c0058 };                    /* 16.4 */
enum { ANALOGUE_CONF0 = 0x6000e040, PLL_BLOCK = 0x66, PLL_HOST = 0 };                          /* soc/regi2c_defs.h, regi2c_bbpll.h */
enum { ROM_I2C_WRITE = 0x4000195c, ROM_DELAY_US = 0x40000050 };                                /* esp32c3.rom.ld */
enum { UNLOCK_WATCHDOG = 0x50d83aa1 };                                                         /* 12.3.2.2 */
static const uint32_t unlock_super_watchdog = 0x8f1d312au, auto_feed = 0x80000000u;            /* 12.4 */

/* The ROM starts three: of the RTC, of timer group 0, and the super watchdog, which can only be fed by itself. */
static void watchdogs_stop(void)
{
    strop_write(RTC_WDTWPROTECT, UNLOCK_WATCHDOG);
    strop_write(RTC_WDTCONFIG0, 0);
    strop_write(RTC_WDTWPROTECT, 0);
    strop_write(TIMG0_WDTWPROTECT, UNLOCK_WATCHDOG);
    strop_write(TIMG0_WDTCONFIG0, 1u << 22); /* off, and taken over */
    strop_write(TIMG0_WDTWPROTECT, 0);
    strop_write(RTC_SWD_WPROTECT, unlock_super_watchdog);
    strop_set(RTC_SWD_CONF, auto_feed);
    strop_write(RTC_SWD_WPROTECT, 0);
}

static void write_pll(uint8_t number, uint8_t value)
{
    void (*const write)(uint8_t, uint8_t, uint8_t, uint8_t) = (void (*)(uint8_t, uint8_t, uint8_t, uint8_t))(uintptr_t)ROM_I2C_WRITE;
    write(PLL_BLOCK, PLL_HOST, number, value);
}

static void clock_start(void)
{
    strop_change(RTC_OPTIONS0, 1u << 10 | 1u << 8 | 1u << 6, 0); /* the PLL, its bus and the bus's clock are powered */
    strop_change(SYSTEM_CPU_PER_CONF, 1u << 2, 1u << 2);         /* PLL_FREQ_SEL: 480 MHz */
    strop_change(ANALOGUE_CONF0, 1u << 3 | 1u << 2, 1u << 3);    /* calibration starts */
    write_pll(4, 0x6b);                                          /* MODE_HF: 480 MHz */
    write_pll(2, 5u << 4 | 0u);                                  /* DCHGP, REF_DIV: 40 MHz */
    write_pll(3, 8);                                             /* DIV_7_0: 12 times, as 8 + 4 */
    write_pll(5, 0);                                             /* DR1, DR3 */
    write_pll(6, 1u << 6 | 2u << 4 | 3u);                        /* DLREF_SEL, DHREF_SEL, DCUR */
    write_pll(9, 2);                                             /* VCO_DBIAS */
    ((void (*)(uint32_t))(uintptr_t)ROM_DELAY_US)(100);
    strop_change(SYSTEM_CPU_PER_CONF, 3, 1); /* CPUPERIOD_SEL: 160 MHz */
    strop_change(SYSTEM_SYSCLK_CONF, 3u << 10 | 0x3ffu, 1u << 10);
}

void strop_board_start(void)
{
    watchdogs_stop();
    clock_start();
}
