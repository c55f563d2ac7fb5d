/* Raspberry Pi Pico 2: 150 MHz from the 12 MHz crystal through the system PLL, UART0 at GP0 and GP1. The boot ROM leaves the processor
 * in the secure state and the flash readable, at a slow clock. Source: RP2350 Datasheet (RESETS 7.5.3, CLOCKS 8.1.7, XOSC 8.2.8, PLL
 * 8.6.5, GPIO 9.11.1, pads 9.11.3, QMI 12.14.6), Pico 2 Datasheet. */
#include "device.h"
#include "registers.h"

enum { RESETS_RESET = 0x40020000, RESETS_DONE = 0x40020008 };                                      /* 7.5.3 */
enum { CLK_REF_CTRL = 0x40010030, CLK_REF_SELECTED = 0x40010038, CLK_SYS_CTRL = 0x4001003c };       /* 8.1.7 */
enum { CLK_SYS_SELECTED = 0x40010044, CLK_PERI_CTRL = 0x40010048 };                                /* 8.1.7 */
enum { XOSC_CTRL = 0x40048000, XOSC_STATUS = 0x40048004, XOSC_STARTUP = 0x4004800c };              /* 8.2.8 */
enum { PLL_CS = 0x40050000, PLL_PWR = 0x40050004, PLL_FBDIV = 0x40050008, PLL_PRIM = 0x4005000c };  /* 8.6.5 */
enum { GPIO0_CTRL = 0x40028004, GPIO1_CTRL = 0x4002800c };                                         /* 9.11.1 */
enum { PAD_GPIO0 = 0x40038004, PAD_GPIO1 = 0x40038008 };                                           /* 9.11.3 */
enum { QMI_M0_TIMING = 0x400d000c };                                                               /* 12.14.6 */
enum { IO_BANK0 = 1 << 6, PADS_BANK0 = 1 << 9, PLL_SYS = 1 << 14, UART0 = 1 << 26 };               /* 7.5.3 */

static void release(uint32_t blocks)
{
    strop_change(RESETS_RESET, blocks, 0);
    strop_await(RESETS_DONE, blocks, blocks);
}

static void clock_start(void)
{
    strop_change(CLK_SYS_CTRL, 1, 0);
    strop_await(CLK_SYS_SELECTED, 1, 1);
    strop_write(XOSC_STARTUP, 47); /* 1 ms in 256 cycles each */
    strop_write(XOSC_CTRL, 0xfabaa0);
    strop_await(XOSC_STATUS, 0x80000000u, 0x80000000u);
    strop_change(CLK_REF_CTRL, 3, 2);
    strop_await(CLK_REF_SELECTED, 4, 4);
    /* 12 * 125 / 5 / 2. */
    strop_set(RESETS_RESET, PLL_SYS);
    release(PLL_SYS);
    strop_write(PLL_CS, 1);
    strop_write(PLL_FBDIV, 125);
    strop_change(PLL_PWR, 0x21, 0);
    strop_await(PLL_CS, 0x80000000u, 0x80000000u);
    strop_write(PLL_PRIM, 5u << 16 | 2u << 12);
    strop_change(PLL_PWR, 8, 0);
    /* The flash at a third: 50 MHz, which W25Q parts take in all read modes; sampled one half cycle later. */
    strop_change(QMI_M0_TIMING, 0x7ff, 1u << 8 | 3u);
    (void)*strop_word(QMI_M0_TIMING);
    strop_change(CLK_SYS_CTRL, 0xe0, 0);
    strop_change(CLK_SYS_CTRL, 1, 1);
    strop_await(CLK_SYS_SELECTED, 2, 2);
    strop_write(CLK_PERI_CTRL, 1u << 11);
}

void strop_board_start(void)
{
    clock_start();
    release(IO_BANK0 | PADS_BANK0 | UART0);
    strop_write(GPIO0_CTRL, 2);
    strop_write(GPIO1_CTRL, 2);
    /* Input with Schmitt trigger, 4 mA, isolation off; a pull-up at the receiver. */
    strop_write(PAD_GPIO0, 0x52);
    strop_write(PAD_GPIO1, 0x5a);
}
