/* Runs the program on the samples of input.bin and writes result.bin, both on the host by semihosting.
 * input.bin: magic, samples, then the input bytes of every sample. All words are 32 bits, little endian.
 * result.bin: magic, init status, calibration moments (empty call, spin loop: before and after each), instructions per poll;
 * profile.bin, where built with STROP_PROFILE: per mark the moments at which the mark before ended and this one began; of the
 * first two marks nothing is between.
 * per sample: run status, moments before and after, offset of a changed guard byte or 0, outputs; at the end: stack bytes used. */
#include "harness.h"

enum {
    HOST_OPEN = 0x01,
    HOST_CLOSE = 0x02,
    HOST_WRITE = 0x05,
    HOST_READ = 0x06,
    HOST_EXIT = 0x18,
    MODE_READ = 1,
    MODE_WRITE = 5,
    EXIT_NORMAL = 0x20026,
    MAGIC = 0x504f5253,
    PAINT = 0x5ac35ac3,
    SPIN_LOOPS = 400000,
    STATUS_BAD_BUFFER = 0x7ffffffe
};

static uint32_t host_open(const char *name, uint32_t length, uint32_t mode)
{
    const uint32_t block[3] = {(uint32_t)(uintptr_t)name, mode, length};
    return (uint32_t)strop_host(HOST_OPEN, block);
}

static int host_move(int operation, uint32_t file, const void *data, uint32_t bytes)
{
    const uint32_t block[3] = {file, (uint32_t)(uintptr_t)data, bytes};
    return strop_host(operation, block);
}

static void host_close(uint32_t file)
{
    const uint32_t block[1] = {file};
    (void)strop_host(HOST_CLOSE, block);
}

static void host_exit(void)
{
    for (;;) {
        (void)strop_host(HOST_EXIT, (const void *)(uintptr_t)EXIT_NORMAL);
    }
}

void strop_report_fault(const struct strop_fault *fault)
{
    const uint32_t file = host_open("fault.bin", 9, MODE_WRITE);
    (void)host_move(HOST_WRITE, file, fault, sizeof *fault);
    host_close(file);
    host_exit();
}

static uint8_t guard_byte(uint32_t index)
{
    return (uint8_t)(index * 37u + 0x5bu);
}

/* Arena number 0 is the first one. */
static const struct strop_arena *arena_at(uint32_t number)
{
    static const struct strop_arena first = {strop_guard_low, strop_arena, strop_guard_high, strop_guard_end};
    return number == 0 ? &first : &strop_further[number - 1];
}

static void paint(void)
{
    for (uint32_t *word = strop_stack_low; word != strop_stack_high; ++word) {
        *word = PAINT;
    }
    for (uint32_t number = 0; number <= strop_further_count; ++number) {
        const struct strop_arena *const arena = arena_at(number);
        for (uint32_t i = 0; arena->low + i != arena->start; ++i) {
            arena->low[i] = guard_byte(i);
        }
        for (uint32_t i = 0; arena->high + i != arena->end; ++i) {
            arena->high[i] = guard_byte(i);
        }
    }
}

/* 0, or the offset from its arena's start of the changed guard byte nearest to an arena. */
static int32_t guard_broken(void)
{
    int32_t offset = 0;
    for (uint32_t number = 0; number <= strop_further_count && offset == 0; ++number) {
        const struct strop_arena *const arena = arena_at(number);
        for (uint32_t i = 0; arena->low + i != arena->start; ++i) {
            if (arena->low[i] != guard_byte(i)) {
                offset = (int32_t)(arena->low + i - arena->start);
            }
        }
        for (uint32_t i = 0; arena->high + i != arena->end && offset == 0; ++i) {
            if (arena->high[i] != guard_byte(i)) {
                offset = (int32_t)(arena->high + i - arena->start);
            }
        }
    }
    return offset;
}

static uint32_t stack_used(void)
{
    const uint32_t *word = strop_stack_low;
    while (word != strop_stack_high && *word == PAINT) {
        ++word;
    }
    return (uint32_t)((const uint8_t *)strop_stack_high - (const uint8_t *)word);
}

struct timed {
    uint32_t status;
    struct strop_moment before;
    struct strop_moment after;
};

static void timed_call(struct timed *record, int (*function)(void *), void *argument)
{
    strop_clock_read(&record->before, 0);
    record->status = (uint32_t)strop_call(function, argument, strop_stack_high);
    strop_clock_read(&record->after, 1);
}

#ifdef STROP_PROFILE
static uint32_t profile;
static struct strop_moment interval[2];

/* The program calls it between its calls. */
__attribute__((noinline)) void strop_mark(void)
{
    strop_clock_read(&interval[1], 1);
    (void)host_move(HOST_WRITE, profile, interval, sizeof interval);
    strop_clock_read(&interval[0], 0);
}
#endif

static int inside_arena(const void *buffer, uint32_t bytes)
{
    const uint8_t *start = buffer;
    int inside = strop_program.caller_owns != 0;
    for (uint32_t number = 0; number <= strop_further_count && !inside; ++number) {
        const struct strop_arena *const arena = arena_at(number);
        inside = start >= arena->start && start <= arena->high && bytes <= (uint32_t)(arena->high - start);
    }
    return inside;
}

static void run_sample(uint32_t in, uint32_t out)
{
    struct timed record = {STATUS_BAD_BUFFER, {0, 0, 0}, {0, 0, 0}};
    int good = 1;
    for (uint32_t i = 0; i < strop_program.inputs && good; ++i) {
        void *buffer = strop_program.input[i](strop_arena);
        good = inside_arena(buffer, strop_program.input_bytes[i]);
        if (good) {
            (void)host_move(HOST_READ, in, buffer, strop_program.input_bytes[i]);
        }
    }
    if (good) {
        timed_call(&record, strop_program.run, strop_arena);
    }
    const int32_t broken = guard_broken();
    for (uint32_t i = 0; i < strop_program.outputs; ++i) {
        if (!inside_arena(strop_program.output[i](strop_arena), strop_program.output_bytes[i])) {
            record.status = STATUS_BAD_BUFFER;
            good = 0;
        }
    }
    (void)host_move(HOST_WRITE, out, &record, sizeof record);
    (void)host_move(HOST_WRITE, out, &broken, sizeof broken);
    for (uint32_t i = 0; i < strop_program.outputs && good; ++i) {
        (void)host_move(HOST_WRITE, out, strop_program.output[i](strop_arena), strop_program.output_bytes[i]);
    }
    if (!good || broken != 0 || record.status != 0) {
        host_close(out);
        host_exit();
    }
}

void strop_main(void)
{
    uint32_t head[2] = {0, 0};
    const uint32_t in = host_open("input.bin", 9, MODE_READ);
    const uint32_t out = host_open("result.bin", 10, MODE_WRITE);
    if (host_move(HOST_READ, in, head, sizeof head) != 0 || head[0] != MAGIC) {
        host_exit();
    }
    struct timed calibration[2];
    strop_clock_start();
    timed_call(&calibration[0], strop_nothing, 0);
    timed_call(&calibration[1], strop_spin, (void *)(uintptr_t)SPIN_LOOPS);
#ifdef STROP_PROFILE
    profile = host_open("profile.bin", 11, MODE_WRITE);
    strop_mark();
    strop_mark();
#endif
    paint();
    const uint32_t start[2] = {MAGIC, (uint32_t)strop_call(strop_program.init, strop_arena, strop_stack_high)};
    (void)host_move(HOST_WRITE, out, start, sizeof start);
    (void)host_move(HOST_WRITE, out, calibration, sizeof calibration);
    (void)host_move(HOST_WRITE, out, &strop_spin_instructions, sizeof strop_spin_instructions);
    for (uint32_t i = 0; i < head[1] && start[1] == 0; ++i) {
        run_sample(in, out);
    }
    const uint32_t used = stack_used();
    (void)host_move(HOST_WRITE, out, &used, sizeof used);
#ifdef STROP_PROFILE
    host_close(profile);
#endif
    host_close(out);
    host_exit();
}
