/* Cortex-M start-up, clock and semihosting: any of M0+ to M85. Sources: Arm ARMv7-M and ARMv8-M reference manuals. */
#include "harness.h"

#define REGISTER(address) (*(volatile uint32_t *)(uintptr_t)(address))

enum { ENABLE_TICKS_FROM_CORE = 7, TICK_MASK = 0x00ffffff };

extern uint32_t strop_harness_stack[];

void strop_reset(void);
void strop_fault_entry(void);
void strop_stop(void);
void strop_tick_wrapped(void);
/* A fault like others, but where a flash's driver takes it. */
__attribute__((weak, alias("strop_fault_entry"))) void strop_nmi(void);
void strop_fault_taken(const uint32_t *frame);

typedef void (*vector)(void);

struct vectors {
    uint32_t *stack;
    vector handlers[15];
};

/* Entry 15 is SysTick; its wraps extend the 24-bit counter. */
__attribute__((section(".vectors"), used)) const struct vectors strop_vectors = {
    strop_harness_stack,
    {strop_reset, strop_nmi, strop_fault_entry, strop_fault_entry, strop_fault_entry, strop_fault_entry, strop_fault_entry,
     strop_fault_entry, strop_fault_entry, strop_fault_entry, strop_fault_entry, strop_fault_entry, strop_fault_entry,
     strop_fault_entry, strop_tick_wrapped}};

static volatile uint32_t wraps; /* of SysTick */

/* Where an emulator without this harness returns to; never passed. */
__attribute__((section(".reset"), used)) void strop_stop(void)
{
    for (;;) {
    }
}

/* Some emulated machines ignore accesses to nothing, so an overflow would go unseen. ARMv7-M ARM B3.5. */
static void forbid_below_stack(void)
{
#if !STROP_HARDWARE && (defined(__ARM_ARCH_7M__) || defined(__ARM_ARCH_7EM__))
    const uint32_t low = (uint32_t)(uintptr_t)strop_stack_low;
    const int has_mpu = (REGISTER(0xe000ed90) & 0xff00u) != 0;
    if (has_mpu && low % STROP_FENCE_BYTES == 0) {
        REGISTER(0xe000ed9c) = (low - STROP_FENCE_BYTES) | 0x10u; /* region 0 */
        REGISTER(0xe000eda0) = (15u << 1) | 1u;                   /* 2^16 bytes, no access */
        REGISTER(0xe000ed94) = 5;                                 /* on; elsewhere the default map */
        __asm__ volatile("dsb\n\tisb" ::: "memory");
    }
#endif
}

__attribute__((section(".reset"))) void strop_reset(void)
{
#if defined(__ARM_FP) || defined(__ARM_FEATURE_MVE)
    REGISTER(0xe000ed88) |= 0x00f00000u; /* CPACR: full access to CP10 and CP11 */
    __asm__ volatile("dsb\n\tisb" ::: "memory");
#endif
#if defined(__ARM_ARCH_6M__)
    REGISTER(0xe000ed14) |= 8u; /* CCR: fault on unaligned accesses, as these cores do, on one that stands in for them */
#endif
    forbid_below_stack();
    for (uint32_t *word = strop_bss_low; word != strop_bss_high; ++word) {
        *word = 0;
    }
    strop_main();
    strop_stop();
}

__attribute__((naked)) void strop_fault_entry(void)
{
    __asm__ volatile(".syntax unified\n\t"
                     "mrs r0, msp\n\t"
                     "ldr r1, =strop_harness_stack\n\t"
                     "mov sp, r1\n\t"
                     "bl strop_fault_taken\n\t"
                     ".ltorg");
}

__attribute__((used)) void strop_fault_taken(const uint32_t *frame)
{
    const int stacked = frame >= strop_stack_low;
    const struct strop_fault fault = {stacked ? frame[6] : 0, REGISTER(0xe000ed28), REGISTER(0xe000ed38), (uint32_t)(uintptr_t)frame};
    strop_report_fault(&fault);
}

void strop_tick_wrapped(void)
{
    wraps = wraps + 1;
}

#if STROP_HARDWARE && !defined(__ARM_ARCH_6M__)
/* The processor's cycles, which no emulator counts. ARMv7-M ARM C1.8, ARMv8-M ARM D1.2.61 (DWT), D1.2.37 (DEMCR). */
static uint32_t cycles_high, cycles_seen;

void strop_clock_start(void)
{
    REGISTER(0xe000edfc) |= 1u << 24; /* DEMCR: trace on */
    REGISTER(0xe0001fb0) = 0xc5acce55; /* DWT_LAR: the lock that Cortex-M7 has */
    REGISTER(0xe0001004) = 0;          /* DWT_CYCCNT */
    REGISTER(0xe0001000) |= 1u;        /* DWT_CTRL: count */
}

const uint32_t strop_spin_instructions = 0;

/* Extended by 32 bits, if called more often than the counter wraps. */
uint32_t strop_ticks(void)
{
    const uint32_t now = REGISTER(0xe0001004);
    cycles_high += now < cycles_seen;
    cycles_seen = now;
    return now;
}

void strop_clock_read(struct strop_moment *moment, int to_edge)
{
    moment->low = strop_ticks();
    moment->high = cycles_high;
    moment->spins = 0;
}
#else
void strop_clock_start(void)
{
    REGISTER(0xe000e014) = TICK_MASK;
    REGISTER(0xe000e018) = 0;
    REGISTER(0xe000e010) = ENABLE_TICKS_FROM_CORE;
}

const uint32_t strop_spin_instructions = 4;

/* Poll the counter until it changes: its new value in the low word, the polls in the high one. Four instructions a poll. */
__attribute__((naked)) static uint64_t wait_for_edge(volatile const uint32_t *counter)
{
    __asm__ volatile(".syntax unified\n\t"
                     "mov r3, r0\n\t"
                     "ldr r2, [r3]\n\t"
                     "movs r1, #0\n"
                     "1:\n\t"
                     "ldr r0, [r3]\n\t"
                     "adds r1, #1\n\t"
                     "cmp r0, r2\n\t"
                     "beq 1b\n\t"
                     "bx lr");
}

void strop_clock_read(struct strop_moment *moment, int to_edge)
{
    uint64_t edge;
    do {
        moment->high = wraps;
        edge = wait_for_edge((volatile const uint32_t *)(uintptr_t)0xe000e018);
    } while (moment->high != wraps);
    moment->low = (0u - (uint32_t)edge) & TICK_MASK; /* 0 at the wrap that is counted then */
    moment->spins = to_edge ? (uint32_t)(edge >> 32) : 0;
}

uint32_t strop_ticks(void)
{
    uint32_t before, low;
    do {
        before = wraps;
        low = (0u - REGISTER(0xe000e018)) & TICK_MASK;
    } while (before != wraps);
    return before << 24 | low;
}
#endif

_Noreturn void strop_restart(void)
{
    REGISTER(0xe000ed0c) = 0x05fa0004u; /* AIRCR: request a reset */
    for (;;) {
    }
}

__attribute__((naked)) int strop_call(int (*function)(void *), void *argument, uint32_t *stack)
{
    __asm__ volatile(".syntax unified\n\t"
                     "push {r4, lr}\n\t"
                     "mov r4, sp\n\t"
                     "mov sp, r2\n\t"
                     "mov r3, r0\n\t"
                     "mov r0, r1\n\t"
                     "blx r3\n\t"
                     "mov sp, r4\n\t"
                     "pop {r4, pc}");
}

__attribute__((naked)) int strop_nothing(void *argument)
{
    __asm__ volatile("bx lr");
}

/* 2 loops + 1 instructions. */
__attribute__((naked)) int strop_spin(void *loops)
{
    __asm__ volatile(".syntax unified\n"
                     "1:\n\t"
                     "subs r0, #1\n\t"
                     "bne 1b\n\t"
                     "bx lr");
}

__attribute__((noinline)) int strop_host(int operation, const void *block)
{
    register int number __asm__("r0") = operation;
    register const void *parameters __asm__("r1") = block;
    __asm__ volatile("bkpt 0xab" : "+r"(number) : "r"(parameters) : "memory");
    return number;
}
