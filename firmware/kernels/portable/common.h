/* What every kernel shares: fixed-width types, inlining, clamps.
 * Kernels are inlined into one wrapper per distinct shape, so the fields of a shape are constants to the compiler;
 * STROP_SHARED functions are compiled once for all shapes; they start at words, as the addresses that some compute need,
 * which -Os would not see to. */
#ifndef STROP_COMMON_H
#define STROP_COMMON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Declared here because bare-metal compilers may come without <string.h>. */
void *memcpy(void *restrict to, const void *restrict from, size_t bytes);
void *memset(void *to, int value, size_t bytes);

#if defined(__GNUC__)
#define STROP_NOINLINE __attribute__((noinline))
#define STROP_SHARED static __attribute__((noinline, unused, aligned(4)))
#define STROP_INLINE static inline __attribute__((always_inline))
#else
#define STROP_NOINLINE
#define STROP_SHARED static inline
#define STROP_INLINE static inline
#endif

/* Before a loop that is to stay one: its cost then does not hang on how few turns it takes. */
#if defined(__clang__)
#define STROP_ROLLED _Pragma("clang loop unroll(disable)")
#elif defined(__GNUC__)
#define STROP_ROLLED _Pragma("GCC unroll 1")
#else
#define STROP_ROLLED
#endif

/* Stands before, between and after the calls of a program; -DSTROP_PROFILE makes it call the caller's clock. */
#ifdef STROP_PROFILE
void strop_mark(void);
#define STROP_MARK() strop_mark()
#else
#define STROP_MARK() ((void)0)
#endif

/* -DSTROP_KERNEL="static inline" shares one copy of a kernel among its shapes: slower, smaller. */
#ifndef STROP_KERNEL
#define STROP_KERNEL STROP_INLINE
#endif

STROP_KERNEL int32_t strop_min(int32_t a, int32_t b) { return a < b ? a : b; }

STROP_KERNEL int32_t strop_max(int32_t a, int32_t b) { return a > b ? a : b; }

STROP_KERNEL int32_t strop_clamp(int32_t x, int32_t low, int32_t high) {
    return x < low ? low : (x > high ? high : x);
}

#endif
