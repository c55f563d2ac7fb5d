/* What every call of a model took: the program calls strop_mark before, between and after its calls. Built with STROP_PROFILE only.
 * A mark reads the clock where it begins and where it ends, so that what lies between is nobody's; the second mark, behind the
 * first at once, tells what an empty call comes to. RAM: 8 bytes a mark. */
#include "device.h"

static struct strop_moment since;
static struct strop_mark_record marks[STROP_MARKS];
static uint32_t count;

static uint32_t ticks_of(const struct strop_moment *moment)
{
    return strop_spin_instructions != 0 ? moment->high << 24 | moment->low : moment->low;
}

__attribute__((noinline)) void strop_mark(void)
{
    struct strop_moment now;
    strop_clock_read(&now, 1);
    if (count < STROP_MARKS) {
        marks[count].ticks = ticks_of(&now) - ticks_of(&since);
        marks[count].polls = now.spins;
    }
    ++count;
    strop_clock_read(&since, 0);
}

void strop_profile_start(void)
{
    count = 0;
    strop_mark();
    strop_mark();
}

/* The marks from number first on, as many as there are and room holds; how many were made is in made. */
const struct strop_mark_record *strop_profile(uint32_t first, uint32_t *room, uint32_t *made)
{
    const uint32_t kept = count < STROP_MARKS ? count : STROP_MARKS;
    const uint32_t left = first < kept ? kept - first : 0;
    *made = count;
    *room = left < *room ? left : *room;
    return marks + (left ? first : 0);
}
