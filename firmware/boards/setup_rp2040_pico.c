/* Raspberry Pi Pico: 125 MHz from the 12 MHz crystal through the system PLL, UART0 at GP0 and GP1. Source: RP2040 Datasheet (RESETS
 * 2.14.3, CLOCKS 2.15.7, XOSC 2.16.7, PLL 2.18.4, GPIO 2.19.6, WATCHDOG 4.7.6), Pico Datasheet. */
#include "device.h"
#include "registers.h"

enum { RESETS = 0x4000c000, RESET = 0, RESET_DONE = 8 };                                    /* 2.14.3 */
enum { CLOCKS = 0x40008000, REF_CTRL = 0x30, REF_SELECTED = 0x38, SYS_CTRL = 0x3c };        /* 2.15.7 */
enum { SYS_SELECTED = 0x44, PERI_CTRL = 0x48 };                                             /* 2.15.7 */
enum { XOSC = 0x40024000, XOSC_CTRL = 0, XOSC_STATUS = 4, XOSC_STARTUP = 0xc };             /* 2.16.7 */
enum { PLL = 0x40028000, PLL_CS = 0, PLL_PWR = 4, PLL_FBDIV = 8, PLL_PRIM = 0xc };          /* 2.18.4 */
enum { GPIO = 0x40014000, GPIO0_CTRL = 4, GPIO1_CTRL = 0xc };                               /* 2.19.6.1 */
enum { IO_BANK0 = 1 << 5, PADS_BANK0 = 1 << 8, PLL_SYS = 1 << 12, UART0 = 1 << 22 };        /* 2.14.3 */
enum { FROM_REF = 0, FROM_XOSC = 2, FROM_PLL = 1 };                                         /* SRC of CLK_SYS, CLK_REF, CLK_SYS */

/* Done when the block's clock runs. */
static void release(uint32_t blocks)
{
    const uint32_t resets = strop_block(RESETS);
    strop_change(resets + RESET, blocks, 0);
    strop_await(resets + RESET_DONE, blocks, blocks);
}

void strop_board_start(void)
{
    const uint32_t clocks = strop_block(CLOCKS);
    /* After a restart the PLL may be what runs: the ring oscillator takes over first. */
    strop_change(clocks + SYS_CTRL, 1, FROM_REF);
    strop_await(clocks + SYS_SELECTED, 1, 1);
    const uint32_t oscillator = strop_block(XOSC);
    strop_write(oscillator + XOSC_STARTUP, 47); /* 1 ms in 256 cycles each */
    strop_write(oscillator + XOSC_CTRL, 0xfabaa0);
    strop_await(oscillator + XOSC_STATUS, 0x80000000u, 0x80000000u);
    strop_write(clocks + REF_CTRL, FROM_XOSC);
    strop_await(clocks + REF_SELECTED, 1u << FROM_XOSC, 1u << FROM_XOSC);
    strop_set(RESETS + RESET, PLL_SYS);
    release(PLL_SYS);
    /* 12 * 125 / 6 / 2. */
    const uint32_t pll = strop_block(PLL);
    strop_write(pll + PLL_CS, 1);
    strop_write(pll + PLL_FBDIV, 125);
    strop_write(pll + PLL_PWR, 0xc); /* VCO and all of it on, but for the post dividers and the fractional part */
    strop_await(pll + PLL_CS, 0x80000000u, 0x80000000u);
    strop_write(pll + PLL_PRIM, 6u << 16 | 2u << 12);
    strop_write(pll + PLL_PWR, 4); /* the post dividers, too */
    /* AUXSRC 0 is this PLL. */
    strop_write(clocks + SYS_CTRL, FROM_PLL);
    strop_await(clocks + SYS_SELECTED, 1u << FROM_PLL, 1u << FROM_PLL);
    strop_write(clocks + PERI_CTRL, 1u << 11); /* from the system clock */
    release(IO_BANK0 | PADS_BANK0 | UART0);
    const uint32_t pins = strop_block(GPIO);
    strop_write(pins + GPIO0_CTRL, 2);
    strop_write(pins + GPIO1_CTRL, 2);
}
