/* What the harness, the start-up code and the generated glue share. */
#ifndef STROP_HARNESS_H
#define STROP_HARNESS_H

#include <stdint.h>

/* 1 on boards that exist: they count the processor's cycles, and what lies below their RAM faults by itself. */
#ifndef STROP_HARDWARE
#define STROP_HARDWARE 0
#endif

/* The program under test. The glue, generated for every program, defines it. */
struct strop_program {
    int (*init)(void *arena);
    int (*run)(void *arena);
    uint32_t inputs;
    uint32_t outputs;
    void *(*const *input)(void *arena);
    const void *(*const *output)(const void *arena);
    const uint32_t *input_bytes;
    const uint32_t *output_bytes;
    uint32_t caller_owns; /* inputs, or inputs and outputs, lie outside the arenas */
};
extern const struct strop_program strop_program;

/* Memory of the program with a guard before and behind it. */
struct strop_arena {
    uint8_t *low;
    uint8_t *start;
    uint8_t *high;
    uint8_t *end;
};
/* Arenas besides the first one, which the program's init takes, too. */
extern const struct strop_arena strop_further[];
extern const uint32_t strop_further_count;

/* From the linker script. */
extern uint32_t strop_stack_low[], strop_stack_high[], strop_bss_low[], strop_bss_high[];
extern uint8_t strop_guard_low[], strop_arena[], strop_guard_high[], strop_guard_end[];

/* The moment at which a tick began: ticks counted up, and the polls made while waiting for it, where those are to be subtracted. */
struct strop_moment {
    uint32_t high;
    uint32_t low;
    uint32_t spins;
};

/* What a fault leaves for the host. */
struct strop_fault {
    uint32_t pc;
    uint32_t cause;
    uint32_t address;
    uint32_t stack;
};

/* So many bytes below the program's stack are forbidden where the hardware can. */
enum { STROP_FENCE_BYTES = 65536 };

/* Per architecture, in firmware/boards. */
extern const uint32_t strop_spin_instructions; /* per poll; 0: the clock counts instructions and nothing is waited for */
void strop_clock_start(void);
/* to_edge 1: the polls belong to after the moment that is measured. */
void strop_clock_read(struct strop_moment *moment, int to_edge);
int strop_call(int (*function)(void *), void *argument, uint32_t *stack);
int strop_nothing(void *argument);
int strop_spin(void *loops);
int strop_host(int operation, const void *block);
uint32_t strop_ticks(void); /* of the clock, counted up, modulo 2^32 */
_Noreturn void strop_restart(void);

void strop_main(void);
void strop_mark(void);
void strop_report_fault(const struct strop_fault *fault);

/* Of firmware and boot loader: the target's name, and CRC-32 of IEEE 802.3 that goes on from crc. */
extern const char strop_board[];
uint32_t strop_check(uint32_t crc, const uint8_t *from, uint32_t bytes);

#endif
