/* NUCLEO-H7A3ZI-Q: 280 MHz from HSI through PLL1 at VOS0 with the SMPS, USART3 at PD8 and PD9 (ST-LINK). Sources: ST RM0455 Rev 10
 * (FLASH 4.9, PWR 6.8, RCC 8.7, GPIO 11.4; supply configuration: table 37; flash latency: table 15), DS13195, UM2408. */
#include "cortex_caches.h"
#include "device.h"

enum { FLASH_ACR = 0x52002000 };                                                          /* RM0455 4.9.1 */
enum { PWR_CSR1 = 0x58024804, PWR_CR3 = 0x5802480c, PWR_SRDCR = 0x58024818 };              /* 6.8.2, 6.8.4, 6.8.6 */
enum { RCC_CR = 0x58024400, RCC_CFGR = 0x58024410, RCC_CDCFGR1 = 0x58024418 };             /* 8.7.2, 8.7.6, 8.7.7 */
enum { RCC_CDCFGR2 = 0x5802441c, RCC_SRDCFGR = 0x58024420 };                               /* 8.7.8, 8.7.9 */
enum { RCC_PLLCKSELR = 0x58024428, RCC_PLLCFGR = 0x5802442c, RCC_PLL1DIVR = 0x58024430 };   /* 8.7.10 to 8.7.12 */
enum { RCC_AHB4ENR = 0x58024540, RCC_APB1LENR = 0x58024548 };                              /* 8.7.43, 8.7.45 */
enum { GPIOD_MODER = 0x58020c00, GPIOD_AFRH = 0x58020c24 };       /* 11.4 */

static void power_start(void)
{
    /* SMPS on, LDO and bypass off: the board's wiring. Written once after power-up, as a whole. */
    strop_write(PWR_CR3, 4);
    strop_await(PWR_CSR1, 1u << 13, 1u << 13); /* ACTVOSRDY */
    strop_write(PWR_SRDCR, 3u << 14); /* VOS0 */
    strop_await(PWR_SRDCR, 1u << 13, 1u << 13);
}

static void clock_start(void)
{
    strop_write(FLASH_ACR, 0x36); /* 6 wait states, WRHIGHFREQ 3 */
    strop_await(FLASH_ACR, 0xf, 6);
    /* HSI 64 MHz, M = 8, N = 70, P = 2: 64 / 8 * 70 / 2; reference 8 to 16 MHz, wide VCO. */
    strop_write(RCC_PLLCKSELR, 8u << 4);
    strop_write(RCC_PLLCFGR, 1u << 16 | 3u << 2);
    strop_write(RCC_PLL1DIVR, 1u << 24 | 1u << 16 | 1u << 9 | 69u);
    strop_set(RCC_CR, 1u << 24); /* PLL1ON */
    strop_await(RCC_CR, 1u << 25, 1u << 25);
    /* All APB buses at half the rate. */
    strop_write(RCC_CDCFGR1, 4u << 4);
    strop_write(RCC_CDCFGR2, 4u << 8 | 4u << 4);
    strop_write(RCC_SRDCFGR, 4u << 4);
    strop_write(RCC_CFGR, 3);
    strop_await(RCC_CFGR, 7u << 3, 3u << 3);
}

void strop_board_start(void)
{
    power_start();
    clock_start();
    strop_caches_on();
    strop_write(RCC_AHB4ENR, 1u << 3);   /* GPIOD */
    strop_write(RCC_APB1LENR, 1u << 18); /* USART3, clocked by PCLK1 */
    (void)*strop_word(RCC_APB1LENR);
    strop_write(GPIOD_AFRH, 0x77);
    strop_change(GPIOD_MODER, 0xfu << 16, 0xau << 16);
}
