/* RV32 start-up, clock and semihosting in machine mode. Sources: RISC-V privileged and semihosting specifications. */
#include "harness.h"

void strop_reset(void);
void strop_stop(void);
void strop_begin(void);
void strop_trap(void);
void strop_trap_taken(uint32_t stack);

/* Where an emulator without this harness returns to; never passed. */
__attribute__((section(".reset"), used)) void strop_stop(void)
{
    for (;;) {
    }
}

/* .vectors, since machines start at the first byte of the flash. */
__attribute__((section(".vectors"), naked, used)) void strop_reset(void)
{
    __asm__ volatile(".option arch, +zicsr\n\t"
                     "la sp, strop_harness_stack\n\t"
                     "la t0, strop_trap\n\t"
                     "csrw mtvec, t0\n\t"
                     "tail strop_begin");
}

/* Physical memory protection, entry 0: locked, so that it binds machine mode too, a power of two, no access. On chips nothing is
 * there, and accesses to nothing trap. */
static void forbid_below_stack(void)
{
#if !STROP_HARDWARE
    const uint32_t low = (uint32_t)(uintptr_t)strop_stack_low;
    if (low % STROP_FENCE_BYTES == 0) {
        const uint32_t area = ((low - STROP_FENCE_BYTES) >> 2) | (STROP_FENCE_BYTES / 8 - 1);
        __asm__ volatile(".option arch, +zicsr\n\tcsrw pmpaddr0, %0" ::"r"(area));
        __asm__ volatile(".option arch, +zicsr\n\tcsrw pmpcfg0, %0" ::"r"(0x98));
    }
#endif
}

__attribute__((used)) void strop_begin(void)
{
    forbid_below_stack();
#if defined(__riscv_flen)
    __asm__ volatile(".option arch, +zicsr\n\tcsrs mstatus, %0" ::"r"(1u << 13)); /* FS: floating point on */
#endif
    for (uint32_t *word = strop_bss_low; word != strop_bss_high; ++word) {
        *word = 0;
    }
    strop_main();
    strop_stop();
}

/* Some cores take table bases of 256 bytes only, and traps jump to its first entry. */
__attribute__((naked, aligned(256))) void strop_trap(void)
{
    __asm__ volatile("mv a0, sp\n\t"
                     "la sp, strop_harness_stack\n\t"
                     "tail strop_trap_taken");
}

__attribute__((used)) void strop_trap_taken(uint32_t stack)
{
    struct strop_fault fault;
    __asm__ volatile(".option arch, +zicsr\n\tcsrr %0, mepc" : "=r"(fault.pc));
    __asm__ volatile(".option arch, +zicsr\n\tcsrr %0, mcause" : "=r"(fault.cause));
    __asm__ volatile(".option arch, +zicsr\n\tcsrr %0, mtval" : "=r"(fault.address));
    fault.stack = stack;
    strop_report_fault(&fault);
}

const uint32_t strop_spin_instructions = 0;

#if STROP_HARDWARE
/* ESP32-C3 has no mcycle, but an event counter of 32 bits. Espressif ESP32-C3 Technical Reference Manual 1.1, 1.4: mpcer, mpcmr, mpccr. */
static uint32_t cycles_high, cycles_seen;

void strop_clock_start(void)
{
    __asm__ volatile(".option arch, +zicsr\n\tcsrw 0x7e0, %0" ::"r"(1)); /* cycles */
    __asm__ volatile(".option arch, +zicsr\n\tcsrw 0x7e1, %0" ::"r"(1)); /* counting, and wrapping */
}

/* Extended by 32 bits, if called more often than the counter wraps. */
uint32_t strop_ticks(void)
{
    uint32_t now;
    __asm__ volatile(".option arch, +zicsr\n\tcsrr %0, 0x7e2" : "=r"(now));
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
}

/* Retired instructions: exact, so there is no edge to wait for. */
void strop_clock_read(struct strop_moment *moment, int to_edge)
{
    uint32_t high;
    uint32_t low;
    uint32_t again;
    do {
        __asm__ volatile(".option arch, +zicsr\n\tcsrr %0, minstreth" : "=r"(high));
        __asm__ volatile(".option arch, +zicsr\n\tcsrr %0, minstret" : "=r"(low));
        __asm__ volatile(".option arch, +zicsr\n\tcsrr %0, minstreth" : "=r"(again));
    } while (high != again);
    moment->high = high;
    moment->low = low;
    moment->spins = 0;
}

uint32_t strop_ticks(void)
{
    uint32_t low;
    __asm__ volatile(".option arch, +zicsr\n\tcsrr %0, minstret" : "=r"(low));
    return low;
}
#endif

_Noreturn void strop_restart(void)
{
    __asm__ volatile("tail strop_reset");
    __builtin_unreachable();
}

__attribute__((naked)) int strop_call(int (*function)(void *), void *argument, uint32_t *stack)
{
    __asm__ volatile("addi sp, sp, -16\n\t"
                     "sw ra, 0(sp)\n\t"
                     "sw s0, 4(sp)\n\t"
                     "mv s0, sp\n\t"
                     "mv sp, a2\n\t"
                     "mv t0, a0\n\t"
                     "mv a0, a1\n\t"
                     "jalr t0\n\t"
                     "mv sp, s0\n\t"
                     "lw ra, 0(sp)\n\t"
                     "lw s0, 4(sp)\n\t"
                     "addi sp, sp, 16\n\t"
                     "ret");
}

__attribute__((naked)) int strop_nothing(void *argument)
{
    __asm__ volatile("ret");
}

/* 2 loops + 1 instructions. */
__attribute__((naked)) int strop_spin(void *loops)
{
    __asm__ volatile("1:\n\t"
                     "addi a0, a0, -1\n\t"
                     "bnez a0, 1b\n\t"
                     "ret");
}

/* The three instructions must be uncompressed and lie in one page. */
__attribute__((naked, noinline)) int strop_host(int operation, const void *block)
{
    __asm__ volatile(".option push\n\t"
                     ".option norvc\n\t"
                     ".balign 16\n\t"
                     "slli x0, x0, 0x1f\n\t"
                     "ebreak\n\t"
                     "srai x0, x0, 7\n\t"
                     "ret\n\t"
                     ".option pop");
}
