/* 32F746GDISCOVERY: 216 MHz from the 25 MHz crystal through the PLL with overdrive, USART1 at PA9 and PB7 (ST-LINK). Sources: ST RM0385
 * Rev 8 (FLASH 3.7, PWR 4.4, RCC 5.3, GPIO 6.4; overdrive: 4.1.4), DS10916 (alternate functions), UM1907 (clock, virtual COM port). */
#include "cortex_caches.h"
#include "device.h"

enum { FLASH_ACR = 0x40023c00 };                                                                        /* RM0385 3.7.1 */
enum { PWR_CR1 = 0x40007000, PWR_CSR1 = 0x40007004 };                                                   /* 4.4.1, 4.4.2 */
enum { RCC_CR = 0x40023800, RCC_PLLCFGR = 0x40023804, RCC_CFGR = 0x40023808 };                          /* 5.3.1 to 5.3.3 */
enum { RCC_AHB1ENR = 0x40023830, RCC_APB1ENR = 0x40023840, RCC_APB2ENR = 0x40023844 };                  /* 5.3.10, 5.3.13, 5.3.14 */
enum { GPIOA_MODER = 0x40020000, GPIOA_AFRH = 0x40020024 };                                             /* 6.4 */
enum { GPIOB_MODER = 0x40020400, GPIOB_AFRL = 0x40020420 };                    /* 6.4 */

static void clock_start(void)
{
    strop_set(RCC_APB1ENR, 1u << 28); /* PWREN */
    (void)*strop_word(RCC_APB1ENR);
    strop_set(RCC_CR, 1u << 16); /* HSEON */
    strop_await(RCC_CR, 1u << 17, 1u << 17);
    /* HSE, M = 25, N = 432, P = 2, Q = 9: 25 / 25 * 432 / 2. */
    strop_write(RCC_PLLCFGR, 9u << 24 | 1u << 22 | 432u << 6 | 25u);
    strop_set(RCC_CR, 1u << 24);              /* PLLON */
    strop_write(PWR_CR1, 1u << 16 | 3u << 14); /* ODEN; VOS stays scale 1 */
    strop_await(PWR_CSR1, 1u << 16, 1u << 16);
    strop_set(PWR_CR1, 1u << 17);             /* ODSWEN */
    strop_await(PWR_CSR1, 1u << 17, 1u << 17);
    strop_await(RCC_CR, 1u << 25, 1u << 25);
    /* 7 wait states, prefetch and ART accelerator, which serve the ITCM's view of the flash. */
    strop_write(FLASH_ACR, 0x307);
    strop_await(FLASH_ACR, 0xf, 7);
    /* APB1 a fourth, APB2 half; then the PLL. */
    strop_write(RCC_CFGR, 4u << 13 | 5u << 10);
    strop_write(RCC_CFGR, 4u << 13 | 5u << 10 | 2u);
    strop_await(RCC_CFGR, 0xc, 8);
}

void strop_board_start(void)
{
    clock_start();
    strop_caches_on();
    strop_set(RCC_AHB1ENR, 3);       /* GPIOA, GPIOB */
    strop_write(RCC_APB2ENR, 1u << 4); /* USART1, clocked by PCLK2 */
    (void)*strop_word(RCC_APB2ENR);
    strop_write(GPIOA_AFRH, 7u << 4);
    strop_change(GPIOA_MODER, 3u << 18, 2u << 18);
    strop_write(GPIOB_AFRL, 7u << 28);
    strop_change(GPIOB_MODER, 3u << 14, 2u << 14);
}
