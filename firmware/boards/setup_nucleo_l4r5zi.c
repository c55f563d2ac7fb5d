/* NUCLEO-L4R5ZI: 120 MHz from HSI16 through the PLL, LPUART1 at PG7 and PG8 (ST-LINK). Sources: ST RM0432 Rev 9 (PWR 5.4, RCC 6.4,
 * FLASH 3.7, GPIO 8.4; clock above 80 MHz: 5.1.8 and 6.2.9), DS12023 (alternate functions), UM2179 (virtual COM port). */
#include "device.h"
#include "registers.h"

enum { FLASH_ACR = 0x40022000 };                                                                  /* RM0432 3.7.1 */
enum { PWR_CR2 = 0x40007004, PWR_CR5 = 0x40007080 };                                              /* 5.4.2, 5.4.5 */
enum { RCC_CR = 0x40021000, RCC_CFGR = 0x40021008, RCC_PLLCFGR = 0x4002100c };                     /* 6.4.1, 6.4.3, 6.4.4 */
enum { RCC_AHB2ENR = 0x4002104c, RCC_APB1ENR1 = 0x40021058, RCC_APB1ENR2 = 0x4002105c };           /* 6.4.17, 6.4.19, 6.4.20 */
enum { GPIOG_MODER = 0x48001800, GPIOG_AFRL = 0x48001820, GPIOG_AFRH = 0x48001824 }; /* 8.4 */

static void clock_start(void)
{
    strop_set(RCC_APB1ENR1, 1u << 28); /* PWREN */
    (void)*strop_word(RCC_APB1ENR1);   /* a peripheral answers two cycles after its clock is on */
    strop_write(PWR_CR5, 0);           /* R1MODE: boost */
    /* 5 wait states, prefetch, instruction and data cache. */
    strop_write(FLASH_ACR, 0x705);
    strop_await(FLASH_ACR, 0xf, 5);
    strop_set(RCC_CR, 1u << 8); /* HSION */
    strop_await(RCC_CR, 1u << 10, 1u << 10);
    /* HSI16, M = 2, N = 30, R = 2: 16 / 2 * 30 / 2. */
    strop_write(RCC_PLLCFGR, 1u << 24 | 30u << 8 | 1u << 4 | 2u);
    strop_set(RCC_CR, 1u << 24); /* PLLON */
    strop_await(RCC_CR, 1u << 25, 1u << 25);
    /* Half the rate for a microsecond on the way. */
    strop_write(RCC_CFGR, 0x83);
    strop_await(RCC_CFGR, 0xc, 0xc);
    for (uint32_t i = 0; i < 60; ++i) {
        (void)*strop_word(RCC_CFGR);
    }
    strop_write(RCC_CFGR, 3);
}

void strop_board_start(void)
{
    clock_start();
    strop_write(PWR_CR2, 1u << 9);   /* IOSV: PG2 to PG15 have a supply of their own */
    strop_write(RCC_AHB2ENR, 1u << 6); /* GPIOG */
    strop_write(RCC_APB1ENR2, 1);      /* LPUART1, clocked by PCLK1 */
    (void)*strop_word(RCC_APB1ENR2);
    strop_write(GPIOG_AFRL, 8u << 28);
    strop_write(GPIOG_AFRH, 8);
    strop_change(GPIOG_MODER, 0xfu << 14, 0xau << 14);
}
