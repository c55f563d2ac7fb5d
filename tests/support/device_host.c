/* Test support: a board's firmware on this machine, its serial port the standard input and output. */
#include <poll.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "device.h"

enum { GUARD = 256, STACK_WORDS = 64 };

uint8_t strop_simulated[2 * GUARD + SIMULATED_ARENA_BYTES] __attribute__((aligned(64)));
uint32_t strop_simulated_stack[STACK_WORDS];
#define PLACE(name, at) ".globl " #name "\n.set " #name ", " at "\n"
__asm__(PLACE(strop_guard_low, "strop_simulated") PLACE(strop_arena, "strop_simulated + 256"));
__asm__(".globl strop_guard_high\n.globl strop_guard_end\n.globl strop_stack_low\n.globl strop_stack_high");
#define TEXT(x) #x
#define NUMBER(x) TEXT(x)
__asm__(".set strop_guard_high, strop_simulated + 256 + " NUMBER(SIMULATED_ARENA_BYTES));
__asm__(".set strop_guard_end, strop_simulated + 512 + " NUMBER(SIMULATED_ARENA_BYTES));
__asm__(".set strop_stack_low, strop_simulated_stack\n.set strop_stack_high, strop_simulated_stack + 256");

const uint32_t strop_spin_instructions = 0;

static uint64_t nanoseconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void strop_clock_start(void)
{
}

void strop_clock_read(struct strop_moment *moment, int to_edge)
{
    const uint64_t now = nanoseconds();
    (void)to_edge;
    moment->high = (uint32_t)(now >> 32);
    moment->low = (uint32_t)now;
    moment->spins = 0;
}

uint32_t strop_ticks(void)
{
    return (uint32_t)nanoseconds();
}

int strop_call(int (*function)(void *), void *argument, uint32_t *stack)
{
    (void)stack;
    return function(argument);
}

int strop_nothing(void *argument)
{
    (void)argument;
    return 0;
}

int strop_spin(void *loops)
{
    (void)loops;
    return 0;
}

_Noreturn void strop_restart(void)
{
    exit(1);
}

void strop_board_start(void)
{
}

void strop_serial_start(void)
{
}

int strop_serial_get(void)
{
    static uint8_t waiting[256];
    static ssize_t first, end;
    if (first == end) {
        struct pollfd input = {0, POLLIN, 0};
        if (poll(&input, 1, 100) == 0) {
            return -1;
        }
        first = 0;
        end = read(0, waiting, sizeof waiting);
        if (end <= 0) {
            exit(0);
        }
    }
    return waiting[first++];
}

void strop_serial_put(uint8_t byte)
{
    if (write(1, &byte, 1) != 1) {
        exit(0);
    }
}

int main(void)
{
    strop_main();
    return 0;
}
