/* NUCLEO-U575ZI-Q: 160 MHz from HSI16 through PLL1 in range 1 with the SMPS and the EPOD booster, USART1 at PA9 and PA10 (ST-LINK).
 * TrustZone is off (TZEN = 0, as delivered). Sources: ST RM0456 Rev 5 (FLASH 7.9, ICACHE 8.7, PWR 10.10, RCC 11.8, GPIO 13.4; clock
 * above 55 MHz: 10.5.4), DS13737, UM2861. */
#include "device.h"
#include "registers.h"

enum { FLASH_ACR = 0x40022000, ICACHE_CR = 0x40030400, ICACHE_SR = 0x40030404 };            /* RM0456 7.9.1, 8.7.1, 8.7.2 */
enum { PWR_CR3 = 0x46020808, PWR_VOSR = 0x4602080c, PWR_SVMSR = 0x4602083c };               /* 10.10.3, 10.10.4, 10.10.16 */
enum { RCC_CR = 0x46020c00, RCC_CFGR1 = 0x46020c1c, RCC_PLL1CFGR = 0x46020c28 };            /* 11.8.1, 11.8.6, 11.8.9 */
enum { RCC_PLL1DIVR = 0x46020c34, RCC_AHB2ENR1 = 0x46020c8c, RCC_AHB3ENR = 0x46020c94 };    /* 11.8.12, 11.8.28, 11.8.30 */
enum { RCC_APB2ENR = 0x46020ca4 };                                                          /* 11.8.33 */
enum { GPIOA_MODER = 0x42020000, GPIOA_AFRH = 0x42020024 };       /* 13.4 */

static void power_start(void)
{
    strop_write(RCC_AHB3ENR, 1u << 2); /* PWREN */
    (void)*strop_word(RCC_AHB3ENR);
    strop_write(PWR_CR3, 1u << 1); /* REGSEL: SMPS */
    strop_await(PWR_SVMSR, 1u << 1, 1u << 1);
    strop_write(PWR_VOSR, 3u << 16); /* range 1 */
    strop_await(PWR_VOSR, 1u << 15, 1u << 15);
}

static void clock_start(void)
{
    strop_write(FLASH_ACR, 0x104); /* 4 wait states, prefetch */
    strop_await(FLASH_ACR, 0xf, 4);
    strop_set(RCC_CR, 1u << 8); /* HSION */
    strop_await(RCC_CR, 1u << 10, 1u << 10);
    /* HSI16, M = 2, N = 40, R = 2: 16 / 2 * 40 / 2; reference 8 to 16 MHz; the booster takes HSI16 undivided. */
    strop_write(RCC_PLL1CFGR, 1u << 18 | 1u << 8 | 3u << 2 | 2u);
    strop_write(RCC_PLL1DIVR, 1u << 24 | 1u << 16 | 1u << 9 | 39u);
    strop_write(PWR_VOSR, 1u << 18 | 3u << 16); /* BOOSTEN */
    strop_await(PWR_VOSR, 1u << 14, 1u << 14);
    strop_set(RCC_CR, 1u << 24); /* PLL1ON */
    strop_await(RCC_CR, 1u << 25, 1u << 25);
    strop_write(RCC_CFGR1, 3);
    strop_await(RCC_CFGR1, 0xc, 0xc);
    strop_await(ICACHE_SR, 1, 0); /* it clears itself after reset */
    strop_write(ICACHE_CR, 1);
}

void strop_board_start(void)
{
    power_start();
    clock_start();
    strop_set(RCC_AHB2ENR1, 1);       /* GPIOA */
    strop_write(RCC_APB2ENR, 1u << 14); /* USART1, clocked by PCLK2 */
    (void)*strop_word(RCC_APB2ENR);
    strop_write(GPIOA_AFRH, 0x770);
    strop_change(GPIOA_MODER, 0xfu << 18, 0xau << 18);
}
