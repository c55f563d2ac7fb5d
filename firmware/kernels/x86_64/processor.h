/* Which form of a kernel this processor gets. Builds for one with AVX512-VNNI have that form alone. Else GCC's start-up code has asked
 * the processor already; under clang the loader asks it once, as some of its libraries do not, or nobody does, and the AVX2 form
 * runs. Asking costs microseconds on virtual machines, so no call of a kernel does. */
#ifndef STROP_PROCESSOR_H
#define STROP_PROCESSOR_H

#include <cpuid.h>

#include "dot.h"

#if defined(__AVX512VNNI__) && defined(__AVX512BW__) && defined(__AVX512VL__)
#define STROP_CHOOSE(name)                             \
    STROP_KERNEL strop_dot_block name##_of(void) {     \
        return name##_vnni;                            \
    }

#elif !defined(__clang__)
#define STROP_CHOOSE(name)                                                                                        \
    STROP_KERNEL strop_dot_block name##_of(void) {                                                                \
        const bool wide = __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");               \
        return wide && __builtin_cpu_supports("avx512vnni") ? name##_vnni : name##_avx2;                          \
    }

#elif __has_attribute(ifunc)
#define STROP_SAVED_BY_SYSTEM 0xE6U /* of xgetbv: registers of 128, 256 and 512 bits and masks */

/* True where the processor has AVX512-VNNI, BW and VL and the system saves their registers. */
STROP_INLINE bool strop_asks_vnni(void) {
    uint32_t a, b, c, d, saved, above;
    if (__get_cpuid(1, &a, &b, &c, &d) == 0 || (c & (uint32_t)bit_OSXSAVE) == 0) {
        return false;
    }
    __asm__("xgetbv" : "=a"(saved), "=d"(above) : "c"(0));
    if ((saved & STROP_SAVED_BY_SYSTEM) != STROP_SAVED_BY_SYSTEM || __get_cpuid_count(7, 0, &a, &b, &c, &d) == 0) {
        return false;
    }
    const uint32_t wide = (uint32_t)bit_AVX512BW | (uint32_t)bit_AVX512VL;
    return (b & wide) == wide && (c & (uint32_t)bit_AVX512VNNI) != 0;
}

#define STROP_CHOOSE(name)                                                                                        \
    static strop_dot_block name##_resolve(void) { return strop_asks_vnni() ? name##_vnni : name##_avx2; }         \
    static void name##_resolved(const strop_dot *d) __attribute__((ifunc(#name "_resolve")));                     \
    STROP_KERNEL strop_dot_block name##_of(void) {                                                                \
        return name##_resolved;                                                                                   \
    }

#else
#define STROP_CHOOSE(name)                             \
    STROP_KERNEL strop_dot_block name##_of(void) {     \
        return name##_avx2;                            \
    }
#endif

#endif
