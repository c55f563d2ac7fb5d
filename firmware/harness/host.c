/* Runs the program as a process of Linux, macOS or Windows: host_program SAMPLES RESULTS. Words are 32 bits in the machine's own order.
 * SAMPLES: magic, samples, warm-up runs, timed runs, then the input bytes of every sample.
 * Emulators count what lies between calls of strop_edge: around an empty program, then around every run; and between those of
 * strop_mark, of which the first two have nothing between and the others are the program's own, where built with STROP_PROFILE.
 * RESULTS: magic, init status; per sample: run status, offset of a changed guard byte or 0, outputs; then nanoseconds, 64 bits a run. */
#include "harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#ifdef _WIN32
#include <windows.h>
#endif

enum { MAGIC = 0x504f5253, GUARD_BYTES = 4096, STATUS_BAD_BUFFER = 0x7ffffffe };

extern const uint32_t strop_arena_bytes, strop_arena_align;

static uint64_t now_ns(void)
{
#ifdef _WIN32
    LARGE_INTEGER rate, count;
    QueryPerformanceFrequency(&rate);
    QueryPerformanceCounter(&count);
    return (uint64_t)((double)count.QuadPart * 1e9 / (double)rate.QuadPart);
#else
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
#endif
}

void strop_edge(void);

__attribute__((noinline)) void strop_edge(void)
{
    __asm__ volatile("");
}

__attribute__((noinline)) void strop_mark(void)
{
    __asm__ volatile("");
}

__attribute__((noinline)) static int run_nothing(void *arena)
{
    __asm__ volatile("" : "+r"(arena));
    return 0;
}

/* Through a pointer nobody knows, so that an empty program costs what any other does around its own instructions. */
static int run_between_edges(int (*volatile run)(void *arena), uint8_t *arena)
{
    strop_edge();
    const int status = run(arena);
    strop_edge();
    return status;
}

static uint8_t guard_byte(uint32_t index)
{
    return (uint8_t)(index * 37u + 0x5bu);
}

/* Arena number 0 is the first one, at `arena`. */
static struct strop_arena arena_at(uint8_t *arena, uint32_t number)
{
    const struct strop_arena first = {arena - GUARD_BYTES, arena, arena + strop_arena_bytes, arena + strop_arena_bytes + GUARD_BYTES};
    return number == 0 ? first : strop_further[number - 1];
}

static void paint_guards(uint8_t *arena)
{
    for (uint32_t number = 0; number <= strop_further_count; ++number) {
        const struct strop_arena at = arena_at(arena, number);
        for (uint32_t i = 0; i < GUARD_BYTES; ++i) {
            at.start[(int64_t)i - GUARD_BYTES] = guard_byte(i);
            at.high[i] = guard_byte(i);
        }
    }
}

static int32_t guard_broken(uint8_t *arena)
{
    int32_t offset = 0;
    for (uint32_t number = 0; number <= strop_further_count && offset == 0; ++number) {
        const struct strop_arena at = arena_at(arena, number);
        for (uint32_t i = 0; i < GUARD_BYTES; ++i) {
            if (at.start[(int64_t)i - GUARD_BYTES] != guard_byte(i)) {
                offset = (int32_t)i - GUARD_BYTES;
            }
        }
        for (uint32_t i = 0; i < GUARD_BYTES && offset == 0; ++i) {
            if (at.high[i] != guard_byte(i)) {
                offset = (int32_t)(at.high + i - at.start);
            }
        }
    }
    return offset;
}

static int inside_arena(uint8_t *arena, const void *buffer, uint32_t bytes)
{
    const uint8_t *start = buffer;
    int inside = strop_program.caller_owns != 0;
    for (uint32_t number = 0; number <= strop_further_count && !inside; ++number) {
        const struct strop_arena at = arena_at(arena, number);
        inside = start >= at.start && start + bytes <= at.high;
    }
    return inside;
}

/* 0 when an input lies outside the arena. */
static int fill(uint8_t *arena, const uint8_t *sample)
{
    for (uint32_t i = 0; i < strop_program.inputs; ++i) {
        void *buffer = strop_program.input[i](arena);
        if (!inside_arena(arena, buffer, strop_program.input_bytes[i])) {
            return 0;
        }
        memcpy(buffer, sample, strop_program.input_bytes[i]);
        sample += strop_program.input_bytes[i];
    }
    return 1;
}

/* 0 when the rest cannot be run. */
static int run_sample(uint8_t *arena, const uint8_t *sample, FILE *results)
{
    uint32_t status = STATUS_BAD_BUFFER;
    int good = fill(arena, sample);
    if (good) {
        status = (uint32_t)run_between_edges(strop_program.run, arena);
    }
    const int32_t broken = guard_broken(arena);
    for (uint32_t i = 0; i < strop_program.outputs; ++i) {
        if (!inside_arena(arena, strop_program.output[i](arena), strop_program.output_bytes[i])) {
            status = STATUS_BAD_BUFFER;
            good = 0;
        }
    }
    fwrite(&status, sizeof status, 1, results);
    fwrite(&broken, sizeof broken, 1, results);
    for (uint32_t i = 0; i < strop_program.outputs && good; ++i) {
        fwrite(strop_program.output[i](arena), strop_program.output_bytes[i], 1, results);
    }
    fflush(results);
    return good && status == 0 && broken == 0;
}

static void time_runs(uint8_t *arena, const uint8_t *sample, uint32_t warm_up, uint32_t runs, FILE *results)
{
    for (uint32_t i = 0; i < warm_up + runs; ++i) {
        (void)fill(arena, sample);
        const uint64_t begun = now_ns();
        (void)strop_program.run(arena);
        const uint64_t spent = now_ns() - begun;
        if (i >= warm_up) {
            fwrite(&spent, sizeof spent, 1, results);
            fflush(results);
        }
    }
}

static uint8_t *new_arena(void)
{
    uint8_t *memory = malloc((size_t)strop_arena_bytes + 2u * GUARD_BYTES + strop_arena_align);
    if (memory == NULL) {
        exit(2);
    }
    memory += GUARD_BYTES;
    memory += (strop_arena_align - (uintptr_t)memory % strop_arena_align) % strop_arena_align;
    paint_guards(memory);
    return memory;
}

int main(int count, char **names)
{
    uint32_t head[4];
    size_t sample_bytes = 0;
    FILE *samples = count == 3 ? fopen(names[1], "rb") : NULL;
    FILE *results = count == 3 ? fopen(names[2], "wb") : NULL;
    if (samples == NULL || results == NULL || fread(head, sizeof head, 1, samples) != 1 || head[0] != MAGIC) {
        return 2;
    }
    for (uint32_t i = 0; i < strop_program.inputs; ++i) {
        sample_bytes += strop_program.input_bytes[i];
    }
    uint8_t *sample = malloc(sample_bytes + 1);
    uint8_t *arena = new_arena();
    strop_mark();
    strop_mark();
    (void)run_between_edges(run_nothing, arena);
    const uint32_t start[2] = {MAGIC, (uint32_t)strop_program.init(arena)};
    fwrite(start, sizeof start, 1, results);
    int good = sample != NULL && start[1] == 0;
    for (uint32_t i = 0; i < head[1] && good; ++i) {
        good = (sample_bytes == 0 || fread(sample, sample_bytes, 1, samples) == 1) && run_sample(arena, sample, results);
    }
    if (good) {
        time_runs(arena, sample, head[2], head[3], results);
    }
    return fclose(results) == 0 ? 0 : 2;
}
